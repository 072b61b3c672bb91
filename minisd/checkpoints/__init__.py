"""Real checkpoints: read, checked and written."""
