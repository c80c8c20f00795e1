"""Values and arithmetic that every other package may import: no torch, no input or output."""
