"""What one would pick instead of a fine-tuned encoder: simple classifiers on words or on frozen embeddings.

Each is fitted on the training rows and answers texts; `base` says how they look alike.
"""
