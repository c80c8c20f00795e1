"""Builds plans for the tests of chunk inputs: 16x16 pixels, text mode, with given cuts and VACE."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from scope_batch.core import geometry
from scope_batch.core.conditioning import Blend, Prompt
from scope_batch.core.plan import Chunk, Plan, Vace
from scope_batch.core.timeline import TENSOR_NAMES, BlobPart, ClipSource, Fill, Kind, Placement

SIZE = 16
VACE = Vace(scale=1.0, timeline=True, restart_streams=False)


def plan_of(*chunks: Chunk, placements: tuple[Placement, ...] = (), num_frames: int | None = None) -> Plan:
    """Chunks one after another from frame 0; the last keeps what `num_frames` leaves of it."""
    placed, frame = [], 0
    for index, chunk in enumerate(chunks):
        left = chunk.frames if num_frames is None else min(chunk.frames, num_frames - frame)
        placed.append(replace(chunk, index=index, first_frame=frame, keep=left))
        frame += left
    return Plan("longlive", frame, Fraction(16), SIZE, SIZE, tuple(placed), placements)


def chunk_of(frames: int = 12, vace: Vace | None = VACE, *, cut: bool = False, mode: geometry.Mode = "text") -> Chunk:
    return Chunk(0, 0, frames, frames, (frames + 3) // 4, 0, mode, "a cut" if cut else None, None,
                 Blend((Prompt("a cat"),)), False, 1, (1000,), False, None, vace)  # fmt: skip


def place(path: Path, kind: Kind = "control", first: int = 0, end: int = 1000, fill: Fill = "none",
          part: BlobPart | None = None) -> Placement:  # fmt: skip
    where = f"job.yaml:3: vace_{TENSOR_NAMES.get(kind, kind)}"
    return Placement(ClipSource(kind, path, part), first, end, fill, "crop", where)


def floats(frames: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """float32 [1, C, T, 16, 16]: in -1..1, or 0..1 for one channel."""
    low = 0 if channels == 1 else -1
    return np.random.default_rng(seed).uniform(low, 1, (1, channels, frames, SIZE, SIZE)).astype(np.float32)


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def as_frames(array: np.ndarray) -> np.ndarray:
    """[1, C, T, H, W] -> [T, H, W, C], one channel as [T, H, W]."""
    moved = np.moveaxis(array[0], 0, -1)
    return moved[..., 0] if moved.shape[-1] == 1 else moved
