"""How large the outputs of a plan will be."""

from __future__ import annotations

from dataclasses import dataclass

from scope_batch.core.file_size import encoded_bytes, npy_bytes
from scope_batch.core.plan import Plan


@dataclass(frozen=True, slots=True)
class Forecast:
    """Bytes. `raw` (NPY) is exact; `mp4`, at the default settings, is a guess: a tenth or twice is no surprise."""

    raw: int
    mp4: int


def forecast(plan: Plan) -> Forecast:
    made = plan.delivery
    pixels = made.frames * made.height * made.width
    return Forecast(raw=npy_bytes(pixels), mp4=encoded_bytes("libx264", pixels))
