"""The public API for packages that add a processor or a pipeline. Nothing here imports torch.

A processor is a `ProcessorSpec` behind an entry point in the group `scope_batch.processors`; `check_processor` tests
that it keeps its contract. One with a model declares a `ProcessorModel`: its files, its device memory, and a function
`load(request: ProcessorRequest)`. A pipeline is a `PipelineSpec` behind an entry point in `scope_batch.pipelines`; its
`engine` names a function `load(request: EngineRequest, report: Report) -> Engine`.
"""

from scope_batch.core.engine import (
    ByteWriter,
    Engine,
    EngineRequest,
    Generated,
    ReproducibleEngine,
    ResumableSession,
    Session,
    Snapshot,
)
from scope_batch.core.frames import NO_INPUTS, ChunkInputs, ControlFrames, Frames
from scope_batch.core.plan import Chunk, Plan
from scope_batch.core.processor_model import ModelFile, ProcessorModel, ProcessorRequest
from scope_batch.events import Report
from scope_batch.pipelines import PipelineSpec
from scope_batch.plan.view.text import Shares
from scope_batch.processors import EachFrame, Parameters, Processor, ProcessorSpec, ResumableStream, Stream
from scope_batch.processors.contract_check import check_processor

__all__ = [
    "NO_INPUTS",
    "ByteWriter",
    "Chunk",
    "ChunkInputs",
    "ControlFrames",
    "EachFrame",
    "Engine",
    "EngineRequest",
    "Frames",
    "Generated",
    "ModelFile",
    "Parameters",
    "PipelineSpec",
    "Plan",
    "Processor",
    "ProcessorModel",
    "ProcessorRequest",
    "ProcessorSpec",
    "Report",
    "ReproducibleEngine",
    "ResumableSession",
    "ResumableStream",
    "Session",
    "Shares",
    "Snapshot",
    "Stream",
    "check_processor",
]
