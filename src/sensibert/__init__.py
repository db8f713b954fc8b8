"""Sensitivity-driven pruning and tuning of Transformer encoders (Sensi-BERT, arXiv 2307.11764)."""

__version__ = "0.1.0"
