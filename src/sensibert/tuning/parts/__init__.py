"""What several tuning methods share."""
