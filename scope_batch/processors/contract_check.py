"""Checks that a processor fulfils its contract; for the tests of plugin authors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from scope_batch.processors.chain import Chain, ChainStream, Stage
from scope_batch.processors.spec import ProcessorSpec, ResumableStream

if TYPE_CHECKING:
    from scope_batch.core.frames import Frames

DIVISIONS: tuple[tuple[int, ...], ...] = ((1,), (2,), (9, 12), (13, 12), (5, 4), (7, 1, 30))
"""Lengths of blocks, repeated to the end: single frames, and the chunk sizes of pipelines."""


def check_processor(spec: ProcessorSpec, frames: Frames | None = None, **parameters: Any) -> Frames:
    """Raise AssertionError unless the processor with `parameters` fulfils the contract; returns its output.

    frames  uint8 [T, H, W, 3], by default 60 moving frames of 48x64.
    A model is loaded as with `models: tiny` and `--device cpu`.

    Checks that the output does not depend on the lengths of blocks; that it has the declared number of frames, after
    every block and in total, and the declared size; that streams do not affect each other; that returned frames never
    change; and that a stream with `state` and `restore` continues exactly.
    """
    frames = moving_frames() if frames is None else frames
    chain = Chain((Stage(spec.id, parameters, spec.load(parameters, "tiny", "cpu")),))
    whole = _run(chain, frames, (len(frames),))
    assert chain.fps_factor > 0, f"{spec.id}: fps_factor is {chain.fps_factor}"
    for division in DIVISIONS:
        divided = _run(chain, frames, division)
        assert np.array_equal(divided, whole), f"{spec.id}: blocks of {division} frames change the output"
    for count in range(1, min(len(frames), 6)):
        assert len(_run(chain, frames[:count], (1,))) == chain.frames_out(count)
    _check_side_by_side(spec.id, chain, frames, whole)
    _check_resuming(spec.id, chain, frames, whole)
    return whole


def moving_frames(count: int = 60, height: int = 48, width: int = 64) -> Frames:
    """Return uint8 [count, height, width, 3]: a bright disc moves over a gradient that brightens, with slight noise."""
    rows, columns = np.mgrid[:height, :width]
    output = np.empty((count, height, width, 3), np.uint8)
    noise = np.random.default_rng(0).integers(0, 16, output.shape, np.uint8)
    for index in range(count):
        x, y = width * (index + 0.5) / count, height * (0.5 + 0.3 * np.sin(index / 6))
        ground = np.stack([columns * 160 // width, rows * 160 // height, (rows + columns + 2 * index) % 160], axis=-1)
        disc = (columns - x) ** 2 + (rows - y) ** 2 < (height / 5) ** 2
        output[index] = np.where(disc[..., None], (230, 200, 60), ground) * ((index + count) / (2 * count))
    output += noise
    return output


def _run(chain: Chain, frames: Frames, division: Sequence[int]) -> Frames:
    """Return the output for frames in blocks of these lengths; a returned block that changes later is an error."""
    stream = chain.open(*frames.shape[1:3])
    output: list[Frames] = []
    copies: list[Frames] = []
    for step in _steps(stream, frames, division):
        output.append(step())
        copies.append(output[-1].copy())
    assert all(np.array_equal(block, copy) for block, copy in zip(output, copies, strict=True)), (
        "returned frames were changed later"
    )
    return np.concatenate(copies)


def _steps(stream: ChainStream, frames: Frames, division: Sequence[int]) -> Iterator[Callable[[], Frames]]:
    first = 0
    for length in cycle(division):
        if first >= len(frames):
            break
        block = frames[first : first + length].copy()
        yield lambda block=block: stream.process(block)  # type: ignore[misc]  # a lambda in a loop
        first += length
    yield stream.flush


def _check_side_by_side(name: str, chain: Chain, frames: Frames, whole: Frames) -> None:
    """Feed two streams in turn with different frames."""
    streams = [chain.open(*frames.shape[1:3]) for _ in range(2)]
    output = []
    for index in range(len(frames)):
        output.append(streams[0].process(frames[index : index + 1]))
        streams[1].process(255 - frames[index : index + 1])
    output.append(streams[0].flush())
    assert np.array_equal(np.concatenate(output), whole), f"{name}: a stream is affected by another one"


def _check_resuming(name: str, chain: Chain, frames: Frames, whole: Frames) -> None:
    """Continue in a new stream after every block of five frames, if the stream can be saved."""
    height, width = frames.shape[1:3]
    if not isinstance(chain.stages[0].open(height, width), ResumableStream):
        return
    stream, output = chain.open(height, width), []
    for first in range(0, len(frames), 5):
        output.append(stream.process(frames[first : first + 5]))
        state, stream = stream.state(), chain.open(height, width)
        stream.restore(state)
    output.append(stream.flush())
    assert np.array_equal(np.concatenate(output), whole), f"{name}: a restored stream does not continue the saved one"
