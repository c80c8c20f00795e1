"""The pipelines this program knows, by id: `PIPELINES` those it brings, `KNOWN_PIPELINES` also those of plugins."""

from scope_batch.core.plugins import Registry
from scope_batch.pipelines.krea import KREA
from scope_batch.pipelines.longlive import LONGLIVE
from scope_batch.pipelines.memflow import MEMFLOW
from scope_batch.pipelines.reward_forcing import REWARD_FORCING
from scope_batch.pipelines.slate import SLATE
from scope_batch.pipelines.spec import PipelineSpec
from scope_batch.pipelines.streamdiffusionv2 import STREAMDIFFUSIONV2

PIPELINES: dict[str, PipelineSpec] = {
    spec.id: spec for spec in (LONGLIVE, STREAMDIFFUSIONV2, MEMFLOW, REWARD_FORCING, KREA, SLATE)
}

KNOWN_PIPELINES: Registry[PipelineSpec] = Registry("pipeline", "scope_batch.pipelines", PipelineSpec, PIPELINES)

__all__ = ["KNOWN_PIPELINES", "PIPELINES", "PipelineSpec"]
