"""Holds the weights of `models: tiny`, trained on drawn scenes, and builds its files in the published layout."""
