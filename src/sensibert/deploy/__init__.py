"""Deployment: exports, smaller vocabularies, and how fast models answer."""
