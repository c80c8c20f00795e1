"""Defines a pipeline without a model: a bar moves over a colour that depends on the prompt."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from scope_batch.plugin import NO_INPUTS, Chunk, ChunkInputs, EngineRequest, PipelineSpec, Plan, Report, Shares

BARS = PipelineSpec(
    id="example-bars",
    summary="a bar moves over a colour that depends on the prompt",
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
    """Load the engine. scope-batch calls this when a render starts, once for all jobs with equal requests.

    An engine with a model loads it here, on `request.device`, and reports progress with `report(Loading(...))`.
    """
    return BarsEngine()


class BarsEngine:
    """A loaded pipeline; see `scope_batch.plugin.Engine`."""

    @contextmanager
    def session(self, plan: Plan, report: Report) -> Iterator[BarsSession]:
        """Open the session of one render. Sessions must not affect each other."""
        yield BarsSession(plan)

    def peak_device_bytes(self) -> int:
        """Return the most device memory held so far; 0 on a CPU."""
        return 0


class BarsSession:
    """The state of one render, whose chunks are generated in order; see `scope_batch.plugin.Session`."""

    def __init__(self, plan: Plan) -> None:
        self._height, self._width = plan.height, plan.width
        self._shares = Shares(plan.chunks)

    def generate(self, chunk: Chunk, inputs: ChunkInputs = NO_INPUTS) -> GeneratedFrames:
        """Generate all `chunk.frames` frames; the render loop trims the last chunk.

        inputs  in video mode `inputs.pixels` holds the chunk's input frames, uint8 [T, H, W, 3].
        """
        prompts = self._shares(chunk)
        colour = sum(prompt.weight * colour_of(prompt.text) for prompt in prompts)
        frames = np.empty((chunk.frames, self._height, self._width, 3), np.uint8)
        frames[:] = colour if inputs.pixels is None else inputs.pixels // 2
        for index, frame in enumerate(frames, start=chunk.first_frame + chunk.seed):
            left = index * 4 % self._width
            frame[:, left : left + 8] = 255
        return GeneratedFrames(frames)


@dataclass(frozen=True)
class GeneratedFrames:
    """The result of one chunk; see `scope_batch.plugin.Generated`."""

    pixels: np.ndarray

    def frames(self) -> np.ndarray:
        """Return uint8 [T, H, W, 3]."""
        return self.pixels

    def latents(self) -> None:
        """Return None: this pipeline has no latents, so `--latents` is refused."""


def colour_of(text: str) -> np.ndarray:
    """Return a dark colour [3] in 0..127.5, always the same for the same text."""
    return np.frombuffer(zlib.crc32(text.encode()).to_bytes(4, "big"), np.uint8)[:3] / 2.0
