"""Writes many jobs as files for queues that run elsewhere: one task for each job, and a script that renders job N."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from scope_batch.farm.export.batch import Batch, File, Written
from scope_batch.farm.export.kubernetes import kubernetes_job
from scope_batch.farm.export.openjd import openjd_template
from scope_batch.farm.export.skypilot import skypilot_task
from scope_batch.farm.export.slurm import slurm_array
from scope_batch.farm.export.studio import flamenco_job_type, opencue_spec

QUEUES: Mapping[str, Callable[[Batch], Written]] = {
    "slurm": slurm_array,
    "kubernetes": kubernetes_job,
    "skypilot": skypilot_task,
    "openjd": openjd_template,
    "flamenco": flamenco_job_type,
    "opencue": opencue_spec,
}

__all__ = ["QUEUES", "Batch", "File", "Written"]
