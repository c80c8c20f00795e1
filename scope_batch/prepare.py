"""From a job to its plan: the inputs are looked at, nothing is loaded."""

from __future__ import annotations

from scope_batch.chunk import Plan
from scope_batch.job import Job


def prepare(job: Job) -> Plan:
    """Check that the job's inputs exist, probe its clip, and plan every chunk. Torch-free."""
    raise NotImplementedError
