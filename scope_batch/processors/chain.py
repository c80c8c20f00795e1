"""Applies several processors one after another, as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import prod
from typing import TYPE_CHECKING, Any

from scope_batch.core.plugins import foreign
from scope_batch.processors import PROCESSORS

if TYPE_CHECKING:
    from scope_batch.core.plan import ProcessorRef
    from scope_batch.processors.spec import Processor, Stream
    from scope_batch.processors.stream import ChainStream


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
    """In the order in which frames pass; an empty one changes nothing. See `Processor` for what the methods say."""

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
        from scope_batch.processors.stream import ChainStream  # numpy comes with it, which a plan does not need

        return ChainStream(self.stages, height, width)


NO_PROCESSORS = Chain()
