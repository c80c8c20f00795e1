"""Finds, fetches, checks and loads the model files of each pipeline."""
