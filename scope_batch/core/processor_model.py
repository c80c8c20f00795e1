"""Defines what a processor with a model declares before the render, and what its loader is given when one starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a repository "owner/name" on the Hugging Face Hub; path: in the repository, with `/`.

    `scope-batch models pull` stores it below the models folder, in a folder with the second part of `repo` as its name.
    """

    repo: str
    path: str


@dataclass(frozen=True, slots=True)
class ProcessorModel:
    """The model of a processor.

    loader         "module:function", called as `load(request: ProcessorRequest)` when a render starts; what it returns
                   is the `model` of the processor. The module may import torch: nothing else imports it.
    files          the model's files, in the order in which the loader finds them; none if it needs no files or manages
                   its own.
    weights_bytes  size of the weights on the device.
    working_bytes  (height, width) of the frames in pixels -> most working memory on the device, in bytes.
    """

    loader: str
    files: tuple[ModelFile, ...]
    weights_bytes: int
    working_bytes: Callable[[int, int], int]

    def device_bytes(self, height: int, width: int) -> int:
        """Return the forecast of the most device memory that the processor holds, in bytes."""
        return self.weights_bytes + self.working_bytes(height, width)


@dataclass(frozen=True, slots=True)
class ProcessorRequest:
    """The requirements for loading a processor's model.

    processor  its id; files: as in `ProcessorModel`.
    models     folder, "tiny", or None for the default places.
    device     "auto", "cpu", "cuda", "cuda:N".
    """

    processor: str
    files: tuple[ModelFile, ...] = ()
    models: str | None = None
    device: str = "auto"
