"""Defines the processor `upscale`: larger frames by Lanczos interpolation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from pydantic import Field

from scope_batch.processors.spec import Parameters, Processor, ProcessorSpec

if TYPE_CHECKING:
    from scope_batch.core.frames import Frames


class UpscaleParameters(Parameters):
    factor: float = Field(
        default=2.0,
        gt=1,
        le=8,
        description="Height and width of the output relative to the input, each rounded to an even number of pixels.",
    )


@dataclass(frozen=True, slots=True)
class Upscale(Processor):
    factor: float

    def size_out(self, height: int, width: int) -> tuple[int, int]:
        return 2 * round(height * self.factor / 2), 2 * round(width * self.factor / 2)

    def open(self, height: int, width: int) -> UpscaleStream:
        return UpscaleStream(*self.size_out(height, width))


@dataclass(frozen=True, slots=True)
class UpscaleStream:
    """Treats every frame on its own. height, width: of the output in pixels."""

    height: int
    width: int

    def process(self, frames: Frames) -> Frames:
        output = np.empty((len(frames), self.height, self.width, 3), np.uint8)
        for index, frame in enumerate(frames):
            picture = Image.fromarray(np.ascontiguousarray(frame))
            output[index] = np.asarray(picture.resize((self.width, self.height), Image.Resampling.LANCZOS))
        return output

    def flush(self) -> None:
        return None

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Do nothing, as there is no state."""


UPSCALE = ProcessorSpec(
    "upscale",
    "larger frames (Lanczos)",
    lambda parameters: Upscale(parameters.factor),
    UpscaleParameters,
)
