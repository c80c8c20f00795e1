"""From a job to its plan: the inputs are looked at, nothing is loaded."""

from __future__ import annotations

from scope_batch.chunk import ClipFacts, Plan
from scope_batch.job import Job, check_inputs
from scope_batch.pipelines import PIPELINES
from scope_batch.plan import plan_job


def prepare(job: Job) -> Plan:
    """Check that the job's inputs exist, probe its clip, and plan every chunk. Torch-free.

    Raises MissingInputError, or JobError for a job or a clip that cannot be rendered.
    """
    check_inputs(job)
    return plan_job(job, PIPELINES[job.pipeline_id], _clip(job))


def _clip(job: Job) -> ClipFacts | None:
    if job.input_path is None:
        return None
    from scope_batch.media.probe import probe_clip  # numpy comes with it, which a job without input does not need

    rate = None if job.input_fps == "native" else job.input_fps
    return probe_clip(job.input_path, rate, job.input_start, job.input_end)
