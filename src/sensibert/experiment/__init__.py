"""What runs across cells: searches, provenance, and the projection into MLflow."""
