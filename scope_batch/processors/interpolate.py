"""Defines the processor `interpolate`: a higher frame rate, with new frames between those there are.

The length in seconds stays, so that sound stays in step: output frame k shows the time k / factor, counted in input
frames. Where that is a whole number, it is the input frame itself, bit for bit. Times behind the last input frame show
the last input frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from scope_batch.processors.motion import estimate, warped
from scope_batch.processors.spec import Parameters, Processor, ProcessorSpec

if TYPE_CHECKING:
    from scope_batch.core.frames import Frames


class InterpolateParameters(Parameters):
    factor: float = Field(
        default=2.0,
        gt=1,
        le=8,
        multiple_of=1 / 16,
        description="Frame rate of the output relative to the input, in sixteenths: 1.5 makes 24 of 16 frames per "
        "second, 1.875 makes 30. num_frames counts the frames before: factor times as many are delivered, rounded up.",
    )


@dataclass(frozen=True, slots=True)
class Interpolate(Processor):
    """Looks one frame ahead."""

    factor: Fraction

    @property
    def fps_factor(self) -> Fraction:  # type: ignore[override]  # depends on the parameter
        return self.factor

    def frames_out(self, frames: int) -> int:
        return ceil(frames * self.factor)

    def frames_ready(self, frames: int) -> int:
        return floor((frames - 1) * self.factor) + 1

    def open(self, height: int, width: int) -> InterpolateStream:  # noqa: ARG002  (the size does not matter)
        return InterpolateStream(self)


class InterpolateStream:
    """Remembers the last frame, uint8 [H, W, 3], how many it took and how many it returned."""

    def __init__(self, processor: Interpolate) -> None:
        self._processor = processor
        self._last: NDArray[np.uint8] | None = None
        self._taken = self._returned = 0

    def process(self, frames: Frames) -> Frames:
        known = frames if self._last is None else np.concatenate([self._last[None], frames])
        first = self._taken - (self._last is not None)
        self._taken += len(frames)
        ready = self._processor.frames_ready(self._taken)
        output = np.empty((ready - self._returned, *frames.shape[1:]), np.uint8)
        for index in range(len(output)):
            number, share = divmod((self._returned + index) / self._processor.factor, 1)
            frame = int(number) - first
            output[index] = known[frame] if not share else between(known[frame], known[frame + 1], float(share))
        self._returned = ready
        self._last = known[-1].copy()
        return output

    def flush(self) -> Frames | None:
        rest = self._processor.frames_out(self._taken) - self._returned
        return None if self._last is None else np.repeat(self._last[None], rest, axis=0)

    def state(self) -> dict[str, Any]:
        return {"last": self._last, "taken": self._taken, "returned": self._returned}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._last, self._taken, self._returned = state["last"], state["taken"], state["returned"]


def between(before: NDArray[np.uint8], after: NDArray[np.uint8], at: float) -> NDArray[np.uint8]:
    """Return the frame at a time of 0..1 between two frames, uint8 [H, W, 3]; the nearer one if the scene changes."""
    motion = estimate(before, after, at)
    if not motion.same_scene:
        return before if at <= 0.5 else after
    mixed = warped(before.astype(np.float32), motion.pixels, -at)
    mixed *= np.float32(1 - at)
    mixed += warped(after.astype(np.float32), motion.pixels, 1 - at) * np.float32(at)
    levels: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return levels


INTERPOLATE = ProcessorSpec(
    "interpolate",
    "a higher frame rate: new frames that follow the motion, the same length in seconds",
    lambda parameters: Interpolate(Fraction(parameters.factor)),
    InterpolateParameters,
)
