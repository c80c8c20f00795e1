"""Defines the processor `flow`: the motion of every pixel as a colour, as a control for VACE or to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from scope_batch.processors.motion import estimate
from scope_batch.processors.spec import Parameters, Processor, ProcessorSpec

if TYPE_CHECKING:
    from scope_batch.core.frames import Frames
    from scope_batch.processors.filters import Floats

WHEEL = {
    0: (255, 0, 0),
    15: (255, 255, 0),
    21: (0, 255, 0),
    25: (0, 255, 255),
    36: (0, 0, 255),
    49: (255, 0, 255),
    55: (255, 0, 0),
}
"""Colours by direction, of 55 steps clockwise from the right: the wheel of S. Baker et al., "A database and evaluation
methodology for optical flow", 2011. Colours between them are linear."""
STEPS = max(WHEEL)


class FlowParameters(Parameters):
    full_speed: float = Field(
        default=0.05,
        gt=0,
        le=1,
        description="Motion from one frame to the next that is drawn in full colour, as a share of the frame's shorter "
        "side; slower motion is paler.",
    )


@dataclass(frozen=True, slots=True)
class Flow(Processor):
    """Looks one frame back; frame 0, which has none before it, shows the motion to frame 1 and waits for it."""

    full_speed: float

    def frames_ready(self, frames: int) -> int:
        return frames if frames > 1 else 0

    def open(self, height: int, width: int) -> FlowStream:
        return FlowStream(self.full_speed * min(height, width))


class FlowStream:
    """Remembers the last frame, uint8 [H, W, 3], and how many it took. full_speed: pixels per frame in full colour."""

    def __init__(self, full_speed: float) -> None:
        self._full_speed = full_speed
        self._last: NDArray[np.uint8] | None = None
        self._taken = 0

    def process(self, frames: Frames) -> Frames:
        known = [*frames] if self._last is None else [self._last, *frames]
        pictures = [self._picture(before, after, 1.0) for before, after in pairwise(known)]
        if self._taken < 2 <= self._taken + len(frames):
            pictures.insert(0, self._picture(known[0], known[1], 0.0))
        self._taken += len(frames)
        self._last = known[-1].copy()
        return np.stack(pictures) if pictures else frames[:0]

    def flush(self) -> Frames | None:
        """Return a white picture for a single frame, which has no motion."""
        return np.full_like(self._last, 255)[None] if self._last is not None and self._taken == 1 else None

    def state(self) -> dict[str, Any]:
        return {"last": self._last, "taken": self._taken}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._last, self._taken = state["last"], state["taken"]

    def _picture(self, before: NDArray[np.uint8], after: NDArray[np.uint8], at: float) -> NDArray[np.uint8]:
        motion = estimate(before, after, at)
        return coloured(motion.pixels, self._full_speed) if motion.same_scene else np.full_like(after, 255)


def coloured(motion: Floats, full_speed: float) -> NDArray[np.uint8]:
    """Return uint8 [H, W, 3] for a motion [2, H, W] in pixels: its direction as hue, its speed as saturation."""
    right, down = motion
    speed = np.minimum(np.sqrt(right * right + down * down) / np.float32(full_speed), np.float32(1))
    step = np.arctan2(down, right).astype(np.float64) / (2 * np.pi) % 1 * STEPS
    hue = np.stack([np.interp(step, [*WHEEL], levels) for levels in zip(*WHEEL.values(), strict=True)], axis=-1)
    levels: NDArray[np.uint8] = np.rint(255 - speed[..., None] * (255 - hue)).astype(np.uint8)
    return levels


FLOW = ProcessorSpec(
    "flow",
    "motion as colours: direction as hue, speed as saturation, white where nothing moves or the scene changes",
    lambda parameters: Flow(parameters.full_speed),
    FlowParameters,
)
