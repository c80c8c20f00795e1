"""Reads and checks job files, before torch or any other heavy package is imported."""

from scope_batch.job.chunk_spec import ChunkSpec
from scope_batch.job.load import check_inputs, load_job, load_text, parse_job
from scope_batch.job.schema import Job

__all__ = ["ChunkSpec", "Job", "check_inputs", "load_job", "load_text", "parse_job"]
