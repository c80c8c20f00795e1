"""Processors: what frames pass before and after the pipeline. Torch-free.

A processor is a `ProcessorSpec`: an id, the type of its parameters, and what makes a `Processor` of them. Opened, a
processor is a `Stream`, which gets the frames of one render in order, chunk by chunk, and carries its state across the
borders. `check_processor` puts one through that. Built-in ones and those of other packages are registered alike.
"""

from scope_batch.core.registry import Registry
from scope_batch.processors.spec import EachFrame, Parameters, Processor, ProcessorSpec, ResumableStream, Stream

PROCESSORS: Registry[ProcessorSpec] = Registry(
    "processor",
    "scope_batch.processors",
    ProcessorSpec,
    {
        "passthrough": "scope_batch.processors.builtin:PASSTHROUGH",
        "gray": "scope_batch.processors.builtin:GRAY",
        "edges": "scope_batch.processors.builtin:EDGES",
    },
)

__all__ = ["PROCESSORS", "EachFrame", "Parameters", "Processor", "ProcessorSpec", "ResumableStream", "Stream"]
