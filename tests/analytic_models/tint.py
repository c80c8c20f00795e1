"""Makes tint.safetensors, a LoRA that shifts the colours of the analytic set: python tests/analytic_models/tint.py"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

LORA = Path(__file__).with_name("tint.safetensors")
WIDTH, FFN, LAYERS, RANK = 256, 512, 4, 4
SHAPE_CHANNELS = 128
"""The first channels of the backbone form the shapes; the LoRA does not change them."""


def lora(seed: int = 3, strength: float = 6.0) -> dict[str, NDArray[np.float16]]:
    """Return a LoRA with the key names and shapes of ComfyUI. alpha = rank, so that its factor is 1."""
    draw = np.random.RandomState(seed)
    tensors: dict[str, NDArray[np.floating]] = {}
    for block in range(LAYERS):
        name = f"diffusion_model.blocks.{block}.ffn.2"
        down = np.full((RANK, FFN), 1 / FFN)  # the mean of the hidden layer, which is never 0
        up = draw.standard_normal((WIDTH, RANK)) * strength
        up[SHAPE_CHANNELS:] -= up[SHAPE_CHANNELS:].mean(axis=0)
        up[:SHAPE_CHANNELS] = 0
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": np.array(RANK)}
    return {key: values.astype(np.float16) for key, values in tensors.items()}


if __name__ == "__main__":
    save_file(lora(), LORA)
