"""Pruning of a fine-tuned model without any retraining, after Kwon et al. (arXiv 2204.09656): one file per step."""
