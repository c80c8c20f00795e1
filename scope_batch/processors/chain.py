"""Chains processors into one, and checks that each returns the number and size of frames that it declares."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from scope_batch.core.registry import foreign
from scope_batch.errors import UnavailableError
from scope_batch.processors import PROCESSORS
from scope_batch.processors.spec import ResumableStream

if TYPE_CHECKING:
    from scope_batch.core.frames import Frames
    from scope_batch.core.plan import ProcessorRef
    from scope_batch.processors.spec import Processor, Stream


@dataclass(frozen=True, slots=True)
class Stage:
    """A processor in a chain.

    parameters  the values in the job.
    where       "the processor 'x' of scope-batch-example 0.1.0", with which errors of its code begin; None for a
                built-in processor.

    A processor is never called with 0 frames, for which one that interpolates might declare -1.
    """

    id: str
    parameters: Mapping[str, Any]
    processor: Processor
    where: str | None = None

    @property
    def fps_factor(self) -> Fraction:
        with foreign(self.where):
            return Fraction(self.processor.fps_factor)

    def frames_out(self, frames: int) -> int:
        with foreign(self.where):
            return self.processor.frames_out(frames) if frames else 0

    def frames_ready(self, frames: int) -> int:
        with foreign(self.where):
            return self.processor.frames_ready(frames) if frames else 0

    def size_out(self, height: int, width: int) -> tuple[int, int]:
        with foreign(self.where):
            return self.processor.size_out(height, width)

    def open(self, height: int, width: int) -> Stream:
        with foreign(self.where):
            return self.processor.open(height, width)


@dataclass(frozen=True, slots=True)
class Chain:
    """Processors in order of application; an empty chain changes nothing. Methods as in `Processor`."""

    stages: tuple[Stage, ...] = ()

    @classmethod
    def of(cls, processors: Iterable[ProcessorRef]) -> Chain:
        """Raises UnavailableError for a processor of another package that cannot be built."""
        stages = []
        for ref in processors:
            spec, where = PROCESSORS.get(ref.id), PROCESSORS.where(ref.id)
            with foreign(where):
                stages.append(Stage(ref.id, ref.parameters, spec.build(ref.parameters), where))
        return cls(tuple(stages))

    @classmethod
    def load(cls, processors: Iterable[ProcessorRef], models: str | None, device: str) -> Chain:
        """Build the processors and load their models onto the device; the arguments are as in `ProcessorRequest`.

        Raises UnavailableError for a missing file or device, JobError for a file that does not fit.
        """
        stages = []
        for ref in processors:
            spec, where = PROCESSORS.get(ref.id), PROCESSORS.where(ref.id)
            with foreign(where):
                stages.append(Stage(ref.id, ref.parameters, spec.load(ref.parameters, models, device), where))
        return cls(tuple(stages))

    def __bool__(self) -> bool:
        return bool(self.stages)

    @property
    def fps_factor(self) -> Fraction:
        return prod((stage.fps_factor for stage in self.stages), start=Fraction(1))

    def frames_out(self, frames: int) -> int:
        return reduce(lambda count, stage: stage.frames_out(count), self.stages, frames)

    def frames_ready(self, frames: int) -> int:
        return reduce(lambda count, stage: stage.frames_ready(count), self.stages, frames)

    def size_out(self, height: int, width: int) -> tuple[int, int]:
        return reduce(lambda size, stage: stage.size_out(*size), self.stages, (height, width))

    def open(self, height: int, width: int) -> ChainStream:
        """Open a stream of the whole chain, which checks the frames that every processor returns."""
        return ChainStream(self.stages, height, width)


NO_PROCESSORS = Chain()


class ChainStream:
    """The stream of a chain, see `Stream`. It also accepts empty blocks, and `flush` always returns an array."""

    def __init__(self, stages: Iterable[Stage], height: int, width: int) -> None:
        self._size = (height, width)
        self._streams: list[CheckedStream] = []
        for stage in stages:
            self._streams.append(CheckedStream(stage, *self._size))
            self._size = self._streams[-1].size_out

    def process(self, frames: Frames) -> Frames:
        return self._through(self._streams, frames)

    def flush(self) -> Frames:
        """Flush every stage and pass its remaining frames through the later stages."""
        rest = [self._through(self._streams[index + 1 :], stream.flush()) for index, stream in enumerate(self._streams)]
        return np.concatenate([np.empty((0, *self._size, 3), np.uint8), *rest])

    def state(self) -> dict[str, Any]:
        """Return copies of the state of every stage, by stage and name: "0.stream.last". See `ResumableStream`.

        Raises UnavailableError if the stream of a stage has no `state` and `restore`.
        """
        return {
            f"{i}.{name}": value for i, stream in enumerate(self._streams) for name, value in stream.state().items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state of `state()`, whose arrays are copied."""
        for index, stream in enumerate(self._streams):
            stream.restore(_with_prefix(f"{index}.", state))

    @staticmethod
    def _through(streams: Iterable[CheckedStream], frames: Frames) -> Frames:
        for stream in streams:
            frames = stream.process(frames)
        return frames


class CheckedStream:
    """One processor's stream. Raises UnavailableError if it returns other frames than it has declared."""

    def __init__(self, stage: Stage, height: int, width: int) -> None:
        self.size_out = stage.size_out(height, width)
        self._stage = stage
        self._stream = stage.open(height, width)
        self._taken = self._returned = 0

    def process(self, frames: Frames) -> Frames:
        if not len(frames):
            return self._no_frames()
        read_only = frames.view()
        read_only.flags.writeable = False
        with foreign(self._stage.where):
            output = self._stream.process(read_only)
        self._taken += len(frames)
        return self._checked(output, self._stage.frames_ready(self._taken))

    def flush(self) -> Frames:
        if not self._taken:
            return self._no_frames()
        with foreign(self._stage.where):
            output = self._stream.flush()
        return self._checked(self._no_frames() if output is None else output, self._stage.frames_out(self._taken))

    def state(self) -> dict[str, Any]:
        with foreign(self._stage.where):
            inner = self._resumable().state()
        return {
            "taken": self._taken,
            "returned": self._returned,
            **{f"stream.{name}": copy.deepcopy(value) for name, value in inner.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._taken, self._returned = state["taken"], state["returned"]
        with foreign(self._stage.where):
            self._resumable().restore(copy.deepcopy(_with_prefix("stream.", state)))

    def _resumable(self) -> ResumableStream:
        if isinstance(self._stream, ResumableStream):
            return self._stream
        raise UnavailableError(f"{self._name}: its stream has no state() and restore(), so it cannot be resumed")

    @property
    def _name(self) -> str:
        return self._stage.where or f"the processor {self._stage.id!r}"

    def _no_frames(self) -> Frames:
        return np.empty((0, *self.size_out, 3), np.uint8)

    def _checked(self, output: Frames, expected: int) -> Frames:
        shape = (expected - self._returned, *self.size_out, 3)
        if not isinstance(output, np.ndarray) or output.dtype != np.uint8 or output.shape != shape:
            actual = f"{output.dtype} {output.shape}" if isinstance(output, np.ndarray) else type(output).__name__
            raise UnavailableError(
                f"{self._name}: returned {actual} after {self._taken} frames, declared uint8 {shape}"
            )
        self._returned = expected
        return output


def _with_prefix(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
