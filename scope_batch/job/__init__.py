"""The job file: what a render is asked for, read and checked before anything heavy is imported."""

from scope_batch.job.schema import ChunkSpec, Job

__all__ = ["ChunkSpec", "Job"]
