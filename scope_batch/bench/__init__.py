"""Measures renders: time by stage and chunk, memory, kernels, and the share of what the device can compute."""
