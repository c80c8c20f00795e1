"""Keeps jobs, which outlive whoever asked for them, in a table on disk, and runs them in worker processes."""
