"""Implements few-step flow matching: the sigma of each timestep and the two update formulas.

sigma(s) = shift * s / (1 + (shift - 1) * s) for s = 1, 0.999 ... 0.001; a timestep maps to the nearest
1000 * sigma (Self-Forcing's scheduler, as the published few-step checkpoints expect it).
"""

from __future__ import annotations

import torch
from torch import Tensor

TABLE_STEPS = 1000


class SigmaTable:
    """Maps timesteps in 0..1000 to sigmas in (0, 1]."""

    def __init__(self, shift: float) -> None:
        s = torch.linspace(1, 0, TABLE_STEPS + 1)[:-1]
        self.sigmas = shift * s / (1 + (shift - 1) * s)
        self.timesteps = 1000 * self.sigmas

    def __call__(self, timestep: int) -> float:
        """Return the sigma of the nearest table entry, the first one if two are equally near.

        Timestep 0 gets the last entry (sigma 0.00498 for shift 5).
        """
        return float(self.sigmas[(self.timesteps - timestep).abs().argmin()])


def to_x0_(latents: Tensor, flow: Tensor, sigma: float) -> Tensor:
    """Compute x0 = x_t - sigma * flow in place on float32 `latents`."""
    return latents.sub_(flow.to(latents.dtype), alpha=sigma)


def add_noise_(latents: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """Compute x_t = (1 - sigma) * x0 + sigma * noise in place on float32 `latents`."""
    return latents.mul_(1 - sigma).add_(noise, alpha=sigma)
