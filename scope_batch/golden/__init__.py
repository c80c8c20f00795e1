"""Compares films frame by frame, and renders with blessed ones."""
