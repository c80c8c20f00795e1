"""Which pipeline and mode honours which field. What cannot be honoured is refused, never ignored.

A field written with another value than its default is a problem; written with its default it is worth a note.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scope_batch.job.schedule import Schedule
from scope_batch.laws import Mode
from scope_batch.pipelines.spec import PipelineSpec
from scope_batch.plan.remarks import Remarks, place

if TYPE_CHECKING:
    from scope_batch.job import ChunkSpec, Job


@dataclass(frozen=True, slots=True)
class Context:
    mode: Mode
    spec: PipelineSpec


@dataclass(frozen=True, slots=True)
class Capability:
    """`field`, at request or chunk level, has an effect only where `honoured`; elsewhere `reason` says why not."""

    field: str
    default: Any
    honoured: Callable[[Context], bool]
    reason: str


def _with_input(context: Context) -> bool:
    return context.mode == "video"


def _nowhere(_: Context) -> bool:
    return False


NO_INPUT = "there is no input video (input_path)"

CAPABILITIES = (
    Capability("noise_scale", 0.7, _with_input, NO_INPUT),
    Capability("noise_controller", False, _with_input, NO_INPUT),
    Capability("input_length", "loop", _with_input, NO_INPUT),
    Capability("input_fps", "native", _with_input, NO_INPUT),
    Capability("input_start", 0.0, _with_input, NO_INPUT),
    Capability("input_end", None, _with_input, NO_INPUT),
    Capability("fit", "crop", _with_input, NO_INPUT),
    Capability("kv_cache_attention_bias", 1.0, _nowhere, "{pipeline} has no such bias"),
)


def check(job: Job, context: Context, remarks: Remarks) -> None:
    for capability in CAPABILITIES:
        if capability.honoured(context):
            continue
        reason = capability.reason.format(pipeline=context.spec.id)
        for where, value in _written(job, capability.field):
            if _is_default(value, capability.default):
                remarks.notes.append(f"{where} has no effect: {reason}")
            else:
                allowed = "" if capability.default is None else f" (allowed: {_spelled(capability.default)})"
                remarks.problems.append(f"{where}: cannot be honoured, {reason}{allowed}")


def _written(job: Job, field: str) -> Iterator[tuple[str, Any]]:
    if field in job.model_fields_set:
        yield place(job, field), getattr(job, field)
    for index, entry in enumerate(job.chunk_specs):
        if _sets(entry, field):
            yield place(job, "chunk_specs", index, field), getattr(entry, field)


def _sets(entry: ChunkSpec, field: str) -> bool:
    return field in entry.model_fields_set


def _is_default(value: Any, default: Any) -> bool:
    if isinstance(value, Schedule):
        return bool(value.constant == default)
    return bool(value == default)


def _spelled(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
