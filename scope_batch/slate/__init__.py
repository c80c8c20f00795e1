"""Draws the plan as video: the slate, a pipeline that shows a schedule without a model or a GPU."""

from scope_batch.slate.engine import load

__all__ = ["load"]
