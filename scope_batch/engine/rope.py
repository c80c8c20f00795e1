"""Rotary position tables of Wan 2.1 that start at any latent frame.

Each head's 128 channels are split 44/42/42 over time, row and column and rotated in adjacent pairs (theta 10,000). The
table that diffusers builds starts at frame 0 and ends at 1,024 on every axis; here positions are computed as they come.
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
    """Channels for time, row, column: 44, 42, 42 of 128."""
    side = 2 * (head_dim // 6)
    return head_dim - 2 * side, side, side


def _angles(positions: Tensor, channels: int) -> Tensor:
    """float64 [len(positions), channels / 2]."""
    exponents = torch.arange(0, channels, 2, dtype=torch.float64) / channels
    return torch.outer(positions.to(torch.float64), THETA**-exponents)


class RotaryTable:
    """Rotary angles for frames of `rows` x `columns` tokens."""

    def __init__(self, head_dim: int, rows: int, columns: int, device: torch.device) -> None:
        self.time_channels, row_channels, column_channels = axis_channels(head_dim)
        self.rows, self.columns, self.device = rows, columns, device
        by_row = _angles(torch.arange(rows), row_channels)[:, None].expand(rows, columns, -1)
        by_column = _angles(torch.arange(columns), column_channels)[None].expand(rows, columns, -1)
        self._space = torch.cat([by_row, by_column], dim=-1).flatten(0, 1)

    def frames(self, start: int, count: int) -> Rotary:
        """Tables for latent frames start .. start + count - 1."""
        return self.at(range(start, start + count))

    def at(self, positions: Sequence[int]) -> Rotary:
        """Tables for latent frames at these positions."""
        by_time = _angles(torch.tensor(positions), self.time_channels)
        count, tokens = len(positions), self.rows * self.columns
        angles = torch.cat(
            [by_time[:, None].expand(count, tokens, -1), self._space[None].expand(count, tokens, -1)], dim=-1
        ).reshape(1, count * tokens, 1, -1)
        return send(angles.cos().float(), self.device), send(angles.sin().float(), self.device)


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Rotate adjacent channel pairs of [1, tokens, heads, head_dim]; computed in float32, returned in x's dtype."""
    cos, sin = rotary
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    out = torch.empty_like(x)
    out[..., 0::2] = even * cos - odd * sin
    out[..., 1::2] = even * sin + odd * cos
    return out
