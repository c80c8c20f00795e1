"""How large the outputs will be, and whether the disks have room."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from scope_batch import laws
from scope_batch.chunk import Plan
from scope_batch.errors import OutputError
from scope_batch.npy_stream import HEADER_BYTES
from scope_batch.sinks.output import Output

PIXEL_BYTES = 3
CODEC_BYTES_PER_PIXEL: Mapping[str, float] = {
    "libx264": 0.15,
    "libx265": 0.10,
    "libvpx-vp9": 0.15,
    "ffv1": 1.5,
    "rawvideo": PIXEL_BYTES,
}
"""For lively pictures at the default quality: a forecast, not a bound. NPY and raw video are exact."""
PNG_BYTES_PER_PIXEL = 1.6
OVERHEAD_BYTES = 64 * 1024
"""Container, headers and metadata."""


def forecast_bytes(output: Output, plan: Plan) -> int:
    """Size of one output in bytes."""
    pixels = plan.num_frames * plan.height * plan.width
    if output.format == "npy":
        return HEADER_BYTES + pixels * PIXEL_BYTES
    if output.options is None:
        return int(pixels * PNG_BYTES_PER_PIXEL) + OVERHEAD_BYTES
    return int(pixels * CODEC_BYTES_PER_PIXEL[output.options.codec]) + OVERHEAD_BYTES


def forecast_latents_bytes(plan: Plan) -> int:
    """Size of the `--latents` file in bytes: float32."""
    cells = (plan.height // laws.SPACE_STRIDE) * (plan.width // laws.SPACE_STRIDE)
    return sum(chunk.latents for chunk in plan.chunks) * laws.LATENT_CHANNELS * cells * 4 + OVERHEAD_BYTES


def check_space(outputs: Sequence[Output], plan: Plan, latents: Path | None = None) -> None:
    """Raises OutputError if a disk has less room than everything that goes on it is expected to take."""
    wanted = [(output.path, forecast_bytes(output, plan)) for output in outputs if output.path is not None]
    if latents is not None:
        wanted.append((latents, forecast_latents_bytes(plan)))
    disks: dict[int, tuple[Path, int]] = {}
    for path, size in wanted:
        folder = _existing_folder(path)
        device = folder.stat().st_dev
        disks[device] = (folder, disks.get(device, (folder, 0))[1] + size)
    for folder, size in disks.values():
        free = shutil.disk_usage(folder).free
        if size > free:
            raise OutputError(
                f"{folder}: about {_megabytes(size)} MB are needed, {_megabytes(free)} MB are free; --force goes on"
            )


def _existing_folder(path: Path) -> Path:
    return next(folder for folder in path.absolute().parents if folder.is_dir())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f}"
