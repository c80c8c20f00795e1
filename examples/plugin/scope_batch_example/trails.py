"""Defines a processor that lets bright pixels leave fading trails. Its stream keeps the last frame as state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from scope_batch.plugin import Parameters, Processor, ProcessorSpec


class TrailParameters(Parameters):
    """The parameters. In a job: `post_processor_id: {id: example-trails, params: {fade: 0.9}}`."""

    fade: float = Field(
        default=0.8, ge=0, lt=1, description="Share of its brightness that a trail keeps from one frame to the next."
    )


@dataclass(frozen=True)
class Trails(Processor):
    """The processor with its parameters. It keeps the number, rate and size of the frames, so it declares nothing."""

    fade: float

    def open(self, height: int, width: int) -> TrailStream:
        """Return a new stream for one render; height, width in pixels."""
        return TrailStream(self.fade, np.zeros((height, width, 3), np.float32))


class TrailStream:
    """The stream of one render. It keeps the brightness of the last frame, float32 [H, W, 3] in 0..255."""

    def __init__(self, fade: float, light: np.ndarray) -> None:
        self._fade, self._light = fade, light

    def process(self, frames: np.ndarray) -> np.ndarray:
        """Add trails to the next frames, uint8 [T, H, W, 3]."""
        output = np.empty_like(frames)
        for index, frame in enumerate(frames):
            self._light = np.maximum(self._light * np.float32(self._fade), frame)
            output[index] = np.rint(self._light)
        return output

    def flush(self) -> None:
        """Return None: no frame is held back."""

    def state(self) -> dict[str, Any]:
        """Return what a resumed render needs. A stream without `state` and `restore` works, but cannot be resumed."""
        return {"light": self._light}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `state` returned."""
        self._light = state["light"]


TRAILS = ProcessorSpec(
    "example-trails", "bright pixels leave fading trails", lambda parameters: Trails(parameters.fade), TrailParameters
)
