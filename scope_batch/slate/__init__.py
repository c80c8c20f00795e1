"""The slate: a pipeline that draws the plan itself, so that a schedule is seen before a GPU is paid for."""

from scope_batch.slate.engine import load

__all__ = ["load"]
