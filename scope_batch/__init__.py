"""Render long AI video from one YAML job file."""

__version__ = "0.1.0"
