"""Defines the contract of a processor."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from scope_batch.core.processor_model import ProcessorModel, ProcessorRequest

if TYPE_CHECKING:
    from scope_batch.core.frames import Frames


class Parameters(BaseModel):
    """The parameters of a processor; a subclass declares the fields, with defaults, limits and descriptions.

    Unknown names and values of a wrong type are refused before the render starts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Stream(Protocol):
    """Processes the frames of one render, which come in order, in non-empty blocks.

    The output must not depend on the lengths of the blocks. Frames are read-only, in and out: a stream may keep its
    input, and never changes a returned array.
    """

    def process(self, frames: Frames) -> Frames:
        """Take the next frames, uint8 [T, H, W, 3]; return the finished ones, as many as `frames_ready` declares.

        The result may be a view that is not contiguous.
        """
        ...

    def flush(self) -> Frames | None:
        """Return the remaining frames after the last input, None = none. Called once, but not if there was no input."""
        ...


@runtime_checkable
class ResumableStream(Stream, Protocol):
    """A stream that can be saved between two blocks and continued by a new stream of the same processor and size.

    A render with another kind of stream cannot be resumed.
    """

    def state(self) -> dict[str, Any]:
        """Return the whole state by name: arrays, ints, floats, strings, None, or lists of those."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state of `state()`. The stream may keep and change its arrays."""
        ...


class Processor(ABC):
    """A processor with its parameters. It declares its effect on frame counts, rate and size before the render.

    It has no state of its own: everything that changes belongs to the streams.
    """

    fps_factor: Fraction = Fraction(1)
    """Frame rate of the output, relative to the input."""

    def frames_out(self, frames: int) -> int:
        """Return the number of output frames for `frames` input frames in total, after the flush."""
        return frames

    def frames_ready(self, frames: int) -> int:
        """Return the number of output frames after the first `frames`, before the flush; fewer if it looks ahead."""
        return self.frames_out(frames)

    def size_out(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) of the output in pixels."""
        return height, width

    @abstractmethod
    def open(self, height: int, width: int) -> Stream:
        """Open a stream for frames of that size. Several may be open at once, on different threads."""


@dataclass(frozen=True, slots=True)
class EachFrame(Processor):
    """A processor that treats every frame on its own and thus has no state.

    `treat`: uint8 [T, H, W, 3] -> uint8 of the same shape.
    """

    treat: Callable[[Frames], Frames]

    def open(self, height: int, width: int) -> EachFrame:  # noqa: ARG002  (the size does not matter)
        return self

    def process(self, frames: Frames) -> Frames:
        return self.treat(frames)

    def flush(self) -> None:
        return None

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Do nothing, as there is no state."""


@dataclass(frozen=True, slots=True)
class ProcessorSpec:
    """`id` is its name in a job; `make` builds the processor from an instance of `parameters`.

    `make` also runs for `scope-batch plan`, so it loads nothing. A processor with a model declares it in `model`: then
    `make` returns a dataclass with a field `model`, None at first; when a render starts, it is what the loader returns.
    """

    id: str
    summary: str
    make: Callable[[Any], Processor]
    parameters: type[Parameters] = Parameters
    model: ProcessorModel | None = None

    def read(self, values: Mapping[str, Any]) -> Parameters:
        """Validate a job's values, where a list may stand for a tuple. Raises pydantic's ValidationError."""
        return self.parameters.model_validate_json(json.dumps(dict(values)))

    def build(self, values: Mapping[str, Any]) -> Processor:
        return self.make(self.read(values))

    def load(self, values: Mapping[str, Any], models: str | None, device: str) -> Processor:
        """Build the processor and load its model, if it has one; models, device: as in `ProcessorRequest`."""
        processor = self.build(values)
        if self.model is None:
            return processor
        module, function = self.model.loader.split(":")
        loaded = getattr(import_module(module), function)(ProcessorRequest(self.id, self.model.files, models, device))
        return replace(processor, model=loaded)  # type: ignore[type-var]  # the contract: a dataclass with that field
