"""Applies several processors one after another, as one, and checks that each returns what it declares."""

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
    """A processor in its place.

    parameters  as the job gives them.
    where       "the processor 'x' of scope-batch-example 0.1.0", None for what is built in: code of others fails in
                one line, which begins so.

    A processor is never asked about 0 frames: one that interpolates might say -1.
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
    """Processors in the order in which frames pass them; an empty chain changes nothing. Methods as in `Processor`."""

    stages: tuple[Stage, ...] = ()

    @classmethod
    def of(cls, processors: Iterable[ProcessorRef]) -> Chain:
        """Raises UnavailableError for a processor of another package that cannot be made."""
        stages = []
        for ref in processors:
            spec, where = PROCESSORS.get(ref.id), PROCESSORS.where(ref.id)
            with foreign(where):
                stages.append(Stage(ref.id, ref.parameters, spec.build(ref.parameters), where))
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
        """A stream of the whole chain, which holds every processor to what it declares."""
        return ChainStream(self.stages, height, width)


NO_PROCESSORS = Chain()


class ChainStream:
    """The stream of a whole chain; see `Stream`. It takes blocks of no frames too, and returns frames after a flush."""

    def __init__(self, stages: Iterable[Stage], height: int, width: int) -> None:
        self._size = (height, width)
        self._streams: list[HeldStream] = []
        for stage in stages:
            self._streams.append(HeldStream(stage, *self._size))
            self._size = self._streams[-1].size_out

    def process(self, frames: Frames) -> Frames:
        return self._through(self._streams, frames)

    def flush(self) -> Frames:
        """What every stage still holds, passed through those behind it."""
        left = [self._through(self._streams[index + 1 :], stream.flush()) for index, stream in enumerate(self._streams)]
        return np.concatenate([np.empty((0, *self._size, 3), np.uint8), *left])

    def state(self) -> dict[str, Any]:
        """Copies of what every stage remembers, by stage and name: "0.stream.last". See `ResumableStream`.

        Raises UnavailableError if the stream of a stage has no `state` and `restore`.
        """
        return {f"{i}.{name}": value for i, held in enumerate(self._streams) for name, value in held.state().items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue as the chain did from which `state` came; the arrays in it are copied."""
        for index, stream in enumerate(self._streams):
            stream.restore(_below(f"{index}.", state))

    @staticmethod
    def _through(streams: Iterable[HeldStream], frames: Frames) -> Frames:
        for stream in streams:
            frames = stream.process(frames)
        return frames


class HeldStream:
    """One processor's stream. Raises UnavailableError if it returns anything but what it has declared."""

    def __init__(self, stage: Stage, height: int, width: int) -> None:
        self.size_out = stage.size_out(height, width)
        self._stage = stage
        self._stream = stage.open(height, width)
        self._taken = self._returned = 0

    def process(self, frames: Frames) -> Frames:
        if not len(frames):
            return self._nothing()
        given = frames.view()
        given.flags.writeable = False
        with foreign(self._stage.where):
            made = self._stream.process(given)
        self._taken += len(frames)
        return self._checked(made, self._stage.frames_ready(self._taken))

    def flush(self) -> Frames:
        if not self._taken:
            return self._nothing()
        with foreign(self._stage.where):
            left = self._stream.flush()
        return self._checked(self._nothing() if left is None else left, self._stage.frames_out(self._taken))

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
            self._resumable().restore(copy.deepcopy(_below("stream.", state)))

    def _resumable(self) -> ResumableStream:
        if isinstance(self._stream, ResumableStream):
            return self._stream
        raise UnavailableError(f"{self._name}: its stream has no state() and restore(), so it cannot be resumed")

    @property
    def _name(self) -> str:
        return self._stage.where or f"the processor {self._stage.id!r}"

    def _nothing(self) -> Frames:
        return np.empty((0, *self.size_out, 3), np.uint8)

    def _checked(self, made: Frames, expected: int) -> Frames:
        shape = (expected - self._returned, *self.size_out, 3)
        if not isinstance(made, np.ndarray) or made.dtype != np.uint8 or made.shape != shape:
            found = f"{made.dtype} {made.shape}" if isinstance(made, np.ndarray) else type(made).__name__
            raise UnavailableError(f"{self._name}: returned {found} after {self._taken} frames, declared uint8 {shape}")
        self._returned = expected
        return made


def _below(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
