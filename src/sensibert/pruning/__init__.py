"""Pruning procedures: whole recipes from a task to a smaller model, other than scoring once and fine-tuning once."""
