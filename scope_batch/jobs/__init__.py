"""Keeps jobs, which outlive whoever asked for them, in a table on disk."""
