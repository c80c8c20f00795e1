"""Reads and checks LoRA files, and merges them into the weights or attaches them as side branches."""
