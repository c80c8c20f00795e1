"""Builds the VACE module of the tiny models, which steers the backbone to the colours of the context.

Where the mask is 0 the output takes the context's colours; where it is 1 it takes only the brightness. The backbone and
the tiny VAE are random, so the two colour tables below were fitted to their weights once and hold only for them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scope_batch.core import geometry
from scope_batch.models.checkpoint import State
from tests.analytic_models.random_weights import HEAD_DIM, Stream

_PATCH = geometry.LATENT_CHANNELS * geometry.PATCH**2
_KEPT, _FOLLOWED = 3.0, 2.0
"""Strength of the colour hint where the mask is 0, and of the brightness hint where it is 1."""

# Red, green, blue in -1..1 from the 16 latent channels of the tiny encoder; gray (0) gives 0.
_SEEN = (
    (-1.42, 0.45, -0.57, 0.05, -0.64, -0.36, -0.48, -0.02, 0.23, 0.28, -1.10, 0.19, 0.83, -0.07, 0.38, 0.38),
    (-0.50, -0.10, -0.46, 0.42, 0.49, 0.16, -1.42, -0.08, -0.17, 0.19, -2.01, -0.36, -0.20, 0.23, -1.09, -1.20),
    (0.55, -0.40, 0.06, -0.06, -0.56, -0.17, -0.55, -0.29, -0.53, 0.51, -0.35, -0.45, -0.09, -0.18, 1.32, 0.40),
)
# The latents that the tiny decoder shows as red, green, blue; and those of gray.
_SHOWN = (
    (0.03, 0.19, -0.05, 0.80, -0.06, -0.20, 0.43, 1.38, 0.19, 0.54, -0.98, 0.03, 1.22, 0.48, -0.16, -1.83),
    (0.65, 0.95, 1.39, 0.53, 0.06, -1.48, 0.44, -0.73, -0.20, -0.34, 0.28, 0.78, 0.16, -0.99, 0.96, 0.40),
    (-1.13, -0.28, -0.43, 0.77, 0.05, -0.10, -1.14, 1.58, -1.53, -0.61, -0.56, -0.18, -0.30, -0.56, -0.61, 0.29),
)
_SHOWN_GRAY = (-0.26, -0.31, -0.34, -0.30, -0.13, -0.02, 0.43, 0.15, 0.12, -0.84, 0.49, -0.47, 0.02, 0.21, -0.25, 0.42)


def vace(rng: Stream, *, heads: int, layers: int, ffn: int) -> State:
    """Build a VACE module for every second layer of a backbone of this size, in original Wan naming."""
    width = heads * HEAD_DIM
    state: State = {
        "vace_patch_embedding.weight": torch.zeros(width, geometry.VACE_CHANNELS, 1, geometry.PATCH, geometry.PATCH),
        "vace_patch_embedding.bias": torch.zeros(width),
    }
    channel, row, column = (torch.from_numpy(axis.reshape(-1)) for axis in np.indices((16, 2, 2)))
    carried = torch.arange(_PATCH, 2 * _PATCH)  # the channels from which the backbone forms the picture
    weight, bias = state["vace_patch_embedding.weight"], state["vace_patch_embedding.bias"]
    for source, target in enumerate(_target_latents().unbind(dim=1)):
        weight[carried, source, 0, row, column] = target[channel]
    bias[carried] = _KEPT * torch.tensor(_SHOWN_GRAY)[channel]
    for j in range(len(range(0, layers, 2))):
        _block(state, rng, f"vace_blocks.{j}", width, ffn, carried, first=j == 0)
    return state


def _target_latents() -> Tensor:
    """Return a matrix [16, 96] that maps the context's channels of a cell to the latents to produce there."""
    seen, shown = torch.tensor(_SEEN), torch.tensor(_SHOWN).T
    brightness = seen.mean(dim=0, keepdim=True).expand(3, -1)
    # The bias adds the latents of gray everywhere; a mask of 1 subtracts them again.
    masked = -_KEPT * torch.tensor(_SHOWN_GRAY)[:, None] / geometry.SPACE_STRIDE**2
    return torch.cat([_KEPT * shown @ seen, _FOLLOWED * shown @ brightness, masked.expand(-1, 64)], dim=1)


def _block(state: State, rng: Stream, name: str, width: int, ffn: int, carried: Tensor, *, first: bool) -> None:
    """Hands on what the first block was given, nearly unchanged, and hints it to the backbone."""
    state[f"{name}.modulation"] = torch.zeros(1, 6, width)
    state[f"{name}.norm3.weight"], state[f"{name}.norm3.bias"] = torch.ones(width), torch.zeros(width)
    for attention in ("self_attn", "cross_attn"):
        for x in "qkvo":
            _linear(state, rng, f"{name}.{attention}.{x}", width, width)
        for x in "qk":
            state[f"{name}.{attention}.norm_{x}.weight"] = torch.ones(width)
    _linear(state, rng, f"{name}.ffn.0", ffn, width)
    _linear(state, rng, f"{name}.ffn.2", width, ffn)
    if first:
        state[f"{name}.before_proj.weight"], state[f"{name}.before_proj.bias"] = torch.eye(width), torch.zeros(width)
    state[f"{name}.after_proj.weight"], state[f"{name}.after_proj.bias"] = torch.zeros(width, width), torch.zeros(width)
    state[f"{name}.after_proj.weight"][carried, carried] = 1


def _linear(state: State, rng: Stream, name: str, out: int, inp: int) -> None:
    state[f"{name}.weight"] = rng(out, inp, k=0.1 * inp**-0.5)
    state[f"{name}.bias"] = torch.zeros(out)
