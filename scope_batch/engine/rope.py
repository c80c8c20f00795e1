"""Builds Wan 2.1's rotary position tables for any latent frames, and rotates queries and keys.

Each head's 128 channels are split 44/42/42 over time, row and column, and rotated in adjacent pairs (theta 10,000).
diffusers' own table covers only positions 0 to 1,023 on every axis; here any position is computed on demand.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scope_batch.engine.device import send

THETA = 10_000.0

Rotary = tuple[Tensor, Tensor]
"""cos and sin, float32 [1, tokens, 1, head_dim / 2], tokens ordered frame, row, column."""


def axis_channels(head_dim: int) -> tuple[int, int, int]:
    """Return the channels for time, row and column: 44, 42, 42 of 128."""
    side = 2 * (head_dim // 6)
    return head_dim - 2 * side, side, side


def _angles(positions: Sequence[int], channels: int) -> Tensor:
    """Return the rotation angles in radians, float64 [len(positions), channels / 2] on the host."""
    exponents = torch.arange(0, channels, 2, dtype=torch.float64) / channels
    return torch.outer(torch.tensor(positions, dtype=torch.float64), THETA**-exponents)


class RotaryTable:
    """Rotary angles for up to `frames` latent frames of `rows` x `columns` tokens, allocated once.

    `at` overwrites the table in place: tensors that it returned earlier change too.
    """

    def __init__(self, head_dim: int, rows: int, columns: int, frames: int, device: torch.device) -> None:
        self._time_channels, row_channels, column_channels = axis_channels(head_dim)
        by_row = _angles(range(rows), row_channels)[:, None].expand(rows, columns, -1)
        by_column = _angles(range(columns), column_channels)[None].expand(rows, columns, -1)
        space = torch.cat([by_row, by_column], dim=-1).flatten(0, 1)
        self._tokens, self._device = rows * columns, device
        self._cos, self._sin = (
            torch.empty(frames, self._tokens, head_dim // 2, dtype=torch.float32, device=device) for _ in range(2)
        )
        self._cos[..., self._time_channels // 2 :] = space.cos().float().to(device)
        self._sin[..., self._time_channels // 2 :] = space.sin().float().to(device)
        self._positions: tuple[int, ...] = ()

    def at(self, positions: Sequence[int]) -> Rotary:
        """Return the table for latent frames at these positions."""
        count = len(positions)
        if tuple(positions) != self._positions:
            angles = _angles(positions, self._time_channels)[:, None]
            time = slice(0, self._time_channels // 2)
            self._cos[:count, :, time] = send(angles.cos().float(), self._device)
            self._sin[:count, :, time] = send(angles.sin().float(), self._device)
            self._positions = tuple(positions)
        shape = (1, count * self._tokens, 1, -1)
        return self._cos[:count].view(shape), self._sin[:count].view(shape)


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Rotate adjacent channel pairs of [1, tokens, heads, head_dim]; computed in float32, returned in x's dtype."""
    cos, sin = rotary
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    out = torch.empty_like(x)
    out[..., 0::2] = even * cos - odd * sin
    out[..., 1::2] = even * sin + odd * cos
    return out
