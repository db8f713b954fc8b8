"""Pruning by Fisher information without retraining (Kwon et al., arXiv 2204.09656): one file per step."""
