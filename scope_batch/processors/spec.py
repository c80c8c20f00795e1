"""The contract of a processor."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from scope_batch.core.frames import Frames


class Parameters(BaseModel):
    """What a processor is made from: a subclass declares its fields, with defaults, limits and descriptions.

    Unknown names and values of another type are refused before anything is rendered.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Stream(Protocol):
    """One render's way through a processor. Frames come in order, in blocks of any length but 0.

    However they are divided, the frames that come out are the same. Frames are read-only, in and out: a stream may keep
    what it got, and never changes what it has returned.
    """

    def process(self, frames: Frames) -> Frames:
        """Take the next frames, uint8 [T, H, W, 3]; return the finished ones, as many as `frames_ready` announces.

        A view that is not contiguous may be returned.
        """
        ...

    def flush(self) -> Frames | None:
        """After the last frame: what is still held back, None = nothing. Called once, unless no frame came."""
        ...


@runtime_checkable
class ResumableStream(Stream, Protocol):
    """A stream that can be saved between two blocks and continued by a new stream of the same processor and size.

    A render with another kind of stream cannot be resumed.
    """

    def state(self) -> dict[str, Any]:
        """Everything that it remembers, by name: arrays, ints, floats, strings, None, or lists of those."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue as the stream did from which `state` came. The arrays are the stream's own from now on."""
        ...


class Processor(ABC):
    """A processor with its parameters: what it does to time and size, known before anything is rendered.

    The same whatever it is opened for: everything that changes lives in the streams.
    """

    fps_factor: Fraction = Fraction(1)
    """Rate of the frames that come out, relative to those that go in."""

    def frames_out(self, frames: int) -> int:
        """Frames that come out of a stream of `frames` in all, flushed."""
        return frames

    def frames_ready(self, frames: int) -> int:
        """Those that have come out after the first `frames`, before the flush; fewer where it looks ahead."""
        return self.frames_out(frames)

    def size_out(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) in pixels of what comes out."""
        return height, width

    @abstractmethod
    def open(self, height: int, width: int) -> Stream:
        """A new stream of frames of that size. Several may be open at once, on different threads."""


@dataclass(frozen=True, slots=True)
class EachFrame(Processor):
    """A processor that treats every frame by itself, so that it has nothing to remember.

    `treat`: uint8 [T, H, W, 3] -> the same shape.
    """

    treat: Callable[[Frames], Frames]

    def open(self, height: int, width: int) -> EachFrame:  # noqa: ARG002  (any size is alike)
        return self

    def process(self, frames: Frames) -> Frames:
        return self.treat(frames)

    def flush(self) -> None:
        return None

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to do."""


@dataclass(frozen=True, slots=True)
class ProcessorSpec:
    """`id` is what a job calls it; `make` gets an instance of `parameters` and loads what the processor needs.

    `make` runs for `scope-batch plan` too: what is heavy belongs into `Processor.open`.
    """

    id: str
    summary: str
    make: Callable[[Any], Processor]
    parameters: type[Parameters] = Parameters

    def read(self, values: Mapping[str, Any]) -> Parameters:
        """Parameters from a job's values, in which a list may stand for a tuple. Raises pydantic's ValidationError."""
        return self.parameters.model_validate_json(json.dumps(dict(values)))

    def build(self, values: Mapping[str, Any]) -> Processor:
        return self.make(self.read(values))
