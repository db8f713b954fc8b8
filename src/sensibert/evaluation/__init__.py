"""How good a model is: predictions, metrics, and the result of one cell."""
