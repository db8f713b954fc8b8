"""Fine-tuning, and the training of one cell."""
