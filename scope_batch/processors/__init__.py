"""Processes frames before and after the pipeline. Torch-free.

A `ProcessorSpec` has an id, the type of its parameters, and a function that makes a `Processor` from them. A processor
opens a `Stream` for each render, which takes the frames in order, chunk by chunk, and keeps its state between chunks.
`check_processor` tests a processor. Built-in ones and those of other packages are registered in the same way.
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
        "scribble": "scope_batch.processors.scribble:SCRIBBLE",
        "flow": "scope_batch.processors.flow:FLOW",
        "upscale": "scope_batch.processors.upscale:UPSCALE",
        "interpolate": "scope_batch.processors.interpolate:INTERPOLATE",
        "depth": "scope_batch.processors.depth:DEPTH",
    },
)

__all__ = ["PROCESSORS", "EachFrame", "Parameters", "Processor", "ProcessorSpec", "ResumableStream", "Stream"]
