"""The pipelines this program knows, by id."""

from scope_batch.pipelines.longlive import LONGLIVE
from scope_batch.pipelines.slate import SLATE
from scope_batch.pipelines.spec import PipelineSpec

PIPELINES: dict[str, PipelineSpec] = {spec.id: spec for spec in (LONGLIVE, SLATE)}

__all__ = ["PIPELINES", "PipelineSpec"]
