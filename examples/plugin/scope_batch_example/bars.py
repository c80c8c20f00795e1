"""A pipeline: a bar that wanders over a colour made from the prompt. No model, but all that an engine needs."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from scope_batch.plugin import NO_INPUTS, Chunk, ChunkInputs, EngineRequest, PipelineSpec, Plan, Report, Shares

BARS = PipelineSpec(
    id="example-bars",
    summary="a bar wanders over a colour made from the prompt",
    block=3,
    window=12,
    sink=3,
    shift=5.0,
    on_prompt_change="text",
    height=128,
    width=192,
    steps_text=(1000,),
    steps_video=(1000,),
    engine="scope_batch_example.bars:load",
    needs_models=False,
)


def load(request: EngineRequest, report: Report) -> BarsEngine:
    """Called once for jobs that need the same engine; the place to load models, `report(Loading(...))` on the way."""
    return BarsEngine()


class BarsEngine:
    @contextmanager
    def session(self, plan: Plan, report: Report) -> Iterator[BarsSession]:
        """One render. What it leaves behind must not reach the next."""
        yield BarsSession(plan)

    def peak_device_bytes(self) -> int:
        return 0


class BarsSession:
    def __init__(self, plan: Plan) -> None:
        self._height, self._width = plan.height, plan.width
        self._shares = Shares(plan.chunks)

    def generate(self, chunk: Chunk, inputs: ChunkInputs = NO_INPUTS) -> Made:
        """All `chunk.frames` frames; the render loop trims the last chunk. `inputs.pixels` is there in video mode."""
        prompts = self._shares(chunk)
        colour = sum(prompt.weight * colour_of(prompt.text) for prompt in prompts)
        frames = np.empty((chunk.frames, self._height, self._width, 3), np.uint8)
        frames[:] = colour if inputs.pixels is None else inputs.pixels // 2
        for index, frame in enumerate(frames, start=chunk.first_frame + chunk.seed):
            left = index * 4 % self._width
            frame[:, left : left + 8] = 255
        return Made(frames)


@dataclass(frozen=True)
class Made:
    picture: np.ndarray

    def frames(self) -> np.ndarray:
        return self.picture

    def latents(self) -> None:
        """This pipeline has none, so `--latents` is refused."""


def colour_of(text: str) -> np.ndarray:
    """A dark colour, the same for the same text."""
    return np.frombuffer(zlib.crc32(text.encode()).to_bytes(4, "big"), np.uint8)[:3] / 2.0
