"""Builds the model files of `models: tiny`, a small random checkpoint set in the published layout."""
