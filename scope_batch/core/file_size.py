"""Forecasts the size of outputs in bytes: exact for raw frames, about right for encoded video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from scope_batch.core.plan import Plan

NPY_HEADER_BYTES = 128
"""Magic, version 1.0, length and dictionary, padded with spaces to a fixed size that fits any shape."""
RGB_BYTES_PER_PIXEL = 3
BYTES_PER_PIXEL: Mapping[str, float] = MappingProxyType(
    {"libx264": 0.1, "libx265": 0.05, "libvpx-vp9": 0.05, "ffv1": 1.5, "rawvideo": RGB_BYTES_PER_PIXEL, "png": 1.6}
)
"""Encoder -> bytes per pixel at the default quality: a forecast, not a bound; only raw video is exact.

The content decides: libx264 measured at 832x480: a drawn page 0.01, a smooth zoom 0.04, the same with fine grain 0.19.
"""
OVERHEAD_BYTES = 64 * 1024
"""Container, headers and metadata."""


def npy_bytes(pixels: int) -> int:
    """Return the exact size in bytes of an NPY file of `pixels` = frames x height x width RGB pixels."""
    return NPY_HEADER_BYTES + pixels * RGB_BYTES_PER_PIXEL


def encoded_bytes(encoder: str, pixels: int) -> int:
    """Forecast the bytes that `encoder`, a key of `BYTES_PER_PIXEL`, needs for `pixels` = frames x height x width."""
    return round(pixels * BYTES_PER_PIXEL[encoder]) + OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Forecast:
    """Bytes of an output. `raw` (NPY) is exact; `mp4`, at the default settings, may be a tenth or twice of that."""

    raw: int
    mp4: int


def forecast(plan: Plan) -> Forecast:
    delivery = plan.delivery
    pixels = delivery.frames * delivery.height * delivery.width
    return Forecast(raw=npy_bytes(pixels), mp4=encoded_bytes("libx264", pixels))
