"""A processor: bright things leave trails that fade. It remembers a frame, so it shows what a stream is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from scope_batch.plugin import Parameters, Processor, ProcessorSpec


class TrailParameters(Parameters):
    """In a job: `post_processor_id: {id: example-trails, params: {fade: 0.9}}`."""

    fade: float = Field(
        default=0.8, ge=0, lt=1, description="Share of its light that a trail keeps from frame to frame."
    )


@dataclass(frozen=True)
class Trails(Processor):
    """Keeps the number, the rate and the size of the frames: nothing else to declare."""

    fade: float

    def open(self, height: int, width: int) -> TrailStream:
        return TrailStream(self.fade, np.zeros((height, width, 3), np.float32))


class TrailStream:
    """The stream of one render; the light carries over from chunk to chunk, and into a render that is resumed."""

    def __init__(self, fade: float, light: np.ndarray) -> None:
        self._fade, self._light = fade, light

    def process(self, frames: np.ndarray) -> np.ndarray:
        """uint8 [T, H, W, 3] -> the same."""
        made = np.empty_like(frames)
        for index, frame in enumerate(frames):
            self._light = np.maximum(self._light * np.float32(self._fade), frame)
            made[index] = np.rint(self._light)
        return made

    def flush(self) -> None:
        """Nothing is held back."""

    def state(self) -> dict[str, Any]:
        """What a resumed render needs. A stream without `state` and `restore` works too, but cannot be resumed."""
        return {"light": self._light}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._light = state["light"]


TRAILS = ProcessorSpec(
    "example-trails", "bright things leave trails", lambda parameters: Trails(parameters.fade), TrailParameters
)
