"""Lists the pipelines by id: `PIPELINES` holds the built-in ones, `KNOWN_PIPELINES` also those of plugins."""

from scope_batch.core.registry import Registry
from scope_batch.pipelines.builtin import KREA, LONGLIVE, MEMFLOW, REWARD_FORCING, SLATE, STREAMDIFFUSIONV2
from scope_batch.pipelines.spec import PipelineSpec

PIPELINES: dict[str, PipelineSpec] = {
    spec.id: spec for spec in (LONGLIVE, STREAMDIFFUSIONV2, MEMFLOW, REWARD_FORCING, KREA, SLATE)
}

KNOWN_PIPELINES: Registry[PipelineSpec] = Registry("pipeline", "scope_batch.pipelines", PipelineSpec, PIPELINES)

__all__ = ["KNOWN_PIPELINES", "PIPELINES", "PipelineSpec"]
