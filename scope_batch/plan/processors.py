"""Creates a job's processors from their parameters and checks that they fit before or after the pipeline."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scope_batch.core.plan import Chunk, Delivery, Plan, PostProcessing, ProcessorRef
from scope_batch.errors import UnavailableError
from scope_batch.plan.diagnostics import Diagnostics, counted, place
from scope_batch.plan.settings import Settings
from scope_batch.processors import PROCESSORS
from scope_batch.processors.chain import NO_PROCESSORS, Chain

if TYPE_CHECKING:
    from scope_batch.job import Job
    from scope_batch.job.fields import ProcessorUse

TESTED_FRAMES = 32
"""Lengths for which a pre-processor must keep the number of frames; the render checks the real one."""


def read_processors(job: Job, settings: Settings, diagnostics: Diagnostics) -> tuple[Chain, Chain]:
    """Return the chains before and after the pipeline."""
    pre = _chain(job, "pre_processor_id", job.pre_processor_id, diagnostics)
    post = _chain(job, "post_processor_id", job.post_processor_id, diagnostics)
    _check_pre(job, pre, settings, diagnostics)
    _check_post(job, post, settings, diagnostics)
    return pre, post


def _chain(job: Job, field: str, uses: Sequence[ProcessorUse], diagnostics: Diagnostics) -> Chain:
    try:
        return Chain.of(ProcessorRef(use.id, copy.deepcopy(use.params)) for use in uses)
    except UnavailableError as error:
        diagnostics.problems.append(f"{place(job, field)}: {error}")
        return NO_PROCESSORS


def refs(chain: Chain) -> tuple[ProcessorRef, ...]:
    return tuple(ProcessorRef(stage.id, stage.parameters) for stage in chain.stages)


def device_bytes(plan: Plan) -> int:
    """Return the forecast of the device memory that the models of the plan's processors hold, in bytes."""
    total = 0
    for processors in (plan.pre_processors, plan.post_processors):
        size = plan.height, plan.width
        for ref, stage in zip(processors, Chain.of(processors).stages, strict=True):
            model = PROCESSORS.get(ref.id).model
            total += 0 if model is None else model.device_bytes(*size)
            size = stage.size_out(*size)
    return total


def post_processing(chain: Chain, settings: Settings, chunks: Sequence[Chunk]) -> PostProcessing | None:
    """Compute the delivered frames from what the processors declare; None without processors."""
    if not chain:
        return None
    frames = chain.frames_out(settings.num_frames)
    ends = [chain.frames_ready(chunk.first_frame + chunk.keep) for chunk in chunks[:-1]]
    size = chain.size_out(settings.height, settings.width)
    return PostProcessing(refs(chain), Delivery(frames, settings.fps * chain.fps_factor, *size), (*ends, frames))


def _check_pre(job: Job, chain: Chain, settings: Settings, diagnostics: Diagnostics) -> None:
    """Check that frame i of the input remains frame i of the output."""
    size = settings.height, settings.width
    counts = (*range(1, TESTED_FRAMES + 1), settings.num_frames)
    for index, stage in enumerate(chain.stages):
        where = place(job, "pre_processor_id", index)
        if stage.fps_factor != 1 or any(stage.frames_out(count) != count for count in counts):
            diagnostics.problems.append(
                f"{where}: {stage.id} changes the number of frames: allowed as a post_processor_id only"
            )
        if stage.size_out(*size) != size:
            diagnostics.problems.append(
                f"{where}: {stage.id} changes the size of the frames: allowed as a post_processor_id only"
            )
    if chain and job.pre_processor_output == "vace_frames" and not settings.spec.vace:
        diagnostics.problems.append(
            f"{place(job, 'pre_processor_output')}: {settings.spec.id} has no VACE; allowed: video"
        )
    if chain and job.input_steers:
        _check_entries(job, diagnostics)


def _check_entries(job: Job, diagnostics: Diagnostics) -> None:
    for index, entry in enumerate(job.chunk_specs):
        for field in ("input_video", "input_video_offset"):
            if getattr(entry, field) is not None:
                diagnostics.problems.append(
                    f"{place(job, 'chunk_specs', index, field)}: would not be pre-processed: with "
                    "pre_processor_output: vace_frames only input_path is"
                )


def _check_post(job: Job, chain: Chain, settings: Settings, diagnostics: Diagnostics) -> None:
    if chain and chain.frames_out(settings.num_frames) < 1:
        names = " and ".join(stage.id for stage in chain.stages)
        count = counted(settings.num_frames, "frame")
        diagnostics.problems.append(f"{place(job, 'post_processor_id')}: {names} delivers no frame from {count}")
