"""Checks that the disks have enough free space for the outputs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.filesize import decimal

from scope_batch.checkpoint.store import STORE
from scope_batch.core import geometry
from scope_batch.core.file_size import OVERHEAD_BYTES, encoded_bytes, npy_bytes
from scope_batch.core.plan import Plan
from scope_batch.errors import OutputError
from scope_batch.sinks.output import Output, work_path


def forecast_bytes(output: Output, plan: Plan) -> int:
    """Estimate the size of one output in bytes."""
    delivery = plan.delivery
    pixels = delivery.frames * delivery.height * delivery.width
    if output.format == "npy":
        return npy_bytes(pixels)
    return encoded_bytes("png" if output.options is None else output.options.codec, pixels)


def forecast_latents_bytes(plan: Plan) -> int:
    """Estimate the size of the `--latents` file (float32) in bytes."""
    cells = (plan.height // geometry.SPACE_STRIDE) * (plan.width // geometry.SPACE_STRIDE)
    return sum(chunk.latents for chunk in plan.chunks) * geometry.LATENT_CHANNELS * cells * 4 + OVERHEAD_BYTES


STATES = 2
"""Streaming states that lie side by side while the newer one is written."""


def forecast_chunks_bytes(plan: Plan, folder: Path, *, latents: bool, kept_states: int = 0) -> int:
    """Bytes that the stored chunks of a render will need besides those that are in `folder` already."""
    state = 0 if plan.memory is None else plan.memory.streaming_state
    size = plan.num_frames * plan.height * plan.width * 3 + (STATES + kept_states) * state
    size += forecast_latents_bytes(plan) if latents else 0
    stored = sum(file.stat().st_size for file in folder.iterdir()) if folder.is_dir() else 0
    return max(size - stored, 0)


def check_space(
    outputs: Sequence[Output],
    plan: Plan,
    latents: Path | None = None,
    chunks: Path | None = None,
    kept_states: int = 0,
) -> None:
    """Raises OutputError if a disk has less free space than its outputs are expected to need.

    chunks       the path in whose work folder the render stores its chunks.
    kept_states  how many streaming states stay there.
    """
    sizes = [(output.path, forecast_bytes(output, plan)) for output in outputs if output.path is not None]
    if latents is not None:
        sizes.append((latents, forecast_latents_bytes(plan)))
    if chunks is not None:
        folder = work_path(chunks) / STORE
        sizes.append(
            (chunks, forecast_chunks_bytes(plan, folder, latents=latents is not None, kept_states=kept_states))
        )
    disks: dict[int, tuple[Path, int]] = {}
    for path, size in sizes:
        folder = _existing_folder(path)
        device = folder.stat().st_dev
        disks[device] = (folder, disks.get(device, (folder, 0))[1] + size)
    for folder, size in disks.values():
        free = shutil.disk_usage(folder).free
        if size > free:
            raise OutputError(
                f"{folder}: about {decimal(size)} are needed, {decimal(free)} are free; --force renders anyway"
            )


def _existing_folder(path: Path) -> Path:
    return next(folder for folder in path.absolute().parents if folder.is_dir())
