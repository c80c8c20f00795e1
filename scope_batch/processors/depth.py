"""Defines the processor `depth`: brightness by nearness, as a control for VACE or to look at. Its model runs in torch.

The model is a DepthAnything network of the transformers library, which knows nearness up to a scale and an offset. Both
are taken from the darkest and the brightest pixel of each frame, smoothed over the frames so that the picture does not
flicker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from scope_batch.core.processor_model import ModelFile, ProcessorModel
from scope_batch.processors.spec import Parameters, Processor, ProcessorSpec

if TYPE_CHECKING:
    from scope_batch.core.frames import Frames

Nearness = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""A loaded model: uint8 [H, W, 3] -> float32 [H, W], larger where things are nearer."""

REPO = "depth-anything/Depth-Anything-V2-Small-hf"
WEIGHTS_BYTES = 99_148_288
"""Of the 24,785,089 float32 weights."""
SHORT_SIDE = 518
"""Pixels of the shorter side of what the published model sees."""


class DepthParameters(Parameters):
    smoothing: float = Field(
        default=0.9,
        ge=0,
        lt=1,
        description="Share of the range of nearness that is kept from one frame to the next; 0 stretches every frame "
        "from black to white on its own.",
    )


@dataclass(frozen=True, slots=True)
class Depth(Processor):
    smoothing: float
    model: Nearness | None = None

    def open(self, height: int, width: int) -> DepthStream:  # noqa: ARG002  (the size does not matter)
        assert self.model is not None, "a render loads the model before it opens a stream"
        return DepthStream(self.model, self.smoothing)


class DepthStream:
    """Remembers the range of nearness; None before the first frame."""

    def __init__(self, model: Nearness, smoothing: float) -> None:
        self._model, self._smoothing = model, smoothing
        self._range: list[float] | None = None

    def process(self, frames: Frames) -> Frames:
        output = np.empty_like(frames)
        for index, frame in enumerate(frames):  # one at a time: the bits must not depend on the length of a block
            nearness = self._model(frame)
            seen = [float(nearness.min()), float(nearness.max())]
            kept, share = self._range or seen, self._smoothing
            low, high = (share * old + (1 - share) * new for old, new in zip(kept, seen, strict=True))
            self._range = [low, high]
            levels = (nearness - np.float32(low)) * np.float32(255 / max(high - low, 1e-6))
            output[index] = np.rint(np.clip(levels, 0, 255)).astype(np.uint8)[..., None]
        return output

    def flush(self) -> None:
        return None

    def state(self) -> dict[str, Any]:
        return {"range": self._range}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._range = state["range"]


def working_bytes(height: int, width: int) -> int:
    """Return the most working memory of the published model in bytes, for frames of any size of that shape."""
    pixels = SHORT_SIDE**2 * max(height, width) / min(height, width)
    return int(pixels * BYTES_PER_PIXEL)


BYTES_PER_PIXEL = 820
"""Working memory per pixel of the network's input, measured on a CUDA device and rounded up."""


DEPTH = ProcessorSpec(
    "depth",
    "nearness as brightness (Depth Anything V2 Small, 99 MB; it needs model files)",
    lambda parameters: Depth(parameters.smoothing),
    DepthParameters,
    ProcessorModel(
        "scope_batch.engine.depth:load",
        (ModelFile(REPO, "config.json"), ModelFile(REPO, "model.safetensors")),
        WEIGHTS_BYTES,
        working_bytes,
    ),
)
