"""LoRA files: their keys, strength and fit to the model, and their use merged into the weights or beside them."""
