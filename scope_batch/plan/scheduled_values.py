"""Every scheduled number of a job, landed together chunk by chunk, and put into the chunks when the grid is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from scope_batch.core.plan import Chunk, LoraUse
from scope_batch.job.schedule import ATTENTION_BIAS, CONTEXT_SCALE, NOISE_SCALE, Schedule
from scope_batch.pipelines.spec import PipelineSpec
from scope_batch.plan.diagnostics import Diagnostics, place
from scope_batch.plan.entries import NO_OVERRIDES, ChunkOverrides, ChunkStart
from scope_batch.plan.loras import Loras, read_loras
from scope_batch.plan.schedules import Clock, Curve
from scope_batch.plan.settings import Settings

if TYPE_CHECKING:
    from scope_batch.job import Job


@dataclass(slots=True)
class ScheduledValues:
    """`land` for every chunk in order, then `fill` once. `bias`: of cached frames in attention, where there is one."""

    noise: Curve
    vace: Curve
    bias: Curve | None
    loras: Loras
    overrides: list[ChunkOverrides] = field(default_factory=list)

    def advance(self, start: ChunkStart, overrides: ChunkOverrides) -> bool:
        """Take the next chunk; returns whether a LoRA's scale moves with it.

        `overrides` replace the scheduled numbers in this chunk.
        """
        self.overrides.append(overrides)
        for curve in self._curves:
            curve.advance(start)
        return self.loras.advance(start, overrides.lora_scales)

    @property
    def are_steady(self) -> bool:
        """No number is scheduled: each is the same in all chunks whose entries do not set it."""
        return not self.loras.tracks and all(curve.is_steady for curve in self._curves)

    def repeat(self, chunks: int) -> None:
        """`chunks` more chunks without entries, of steady numbers."""
        self.overrides += [NO_OVERRIDES] * chunks
        for curve in self._curves:
            curve.repeat(chunks)

    @property
    def _curves(self) -> list[Curve]:
        return [curve for curve in (self.noise, self.vace, self.bias) if curve is not None]

    def fill(self, chunks: Sequence[Chunk]) -> tuple[list[Chunk], tuple[LoraUse, ...]]:
        """Chunks with every scheduled number in its place."""
        noise_scales, vace_scales, biases = self.noise.values(), self.vace.values(), self._biases()
        filled: list[Chunk] = []
        for chunk, overrides, noise, vace, bias in zip(
            chunks, self.overrides, noise_scales, vace_scales, biases, strict=True
        ):
            changes: dict[str, Any] = {}
            if chunk.mode == "video":
                changes["noise_scale"] = noise if overrides.noise_scale is None else overrides.noise_scale
            if chunk.vace is not None:
                scale = vace if overrides.vace_context_scale is None else overrides.vace_context_scale
                changes["vace"] = replace(chunk.vace, scale=scale)
            if bias is not None:
                changes["attention_bias"] = bias
            filled.append(replace(chunk, **changes) if changes else chunk)
        filled = self.loras.fill(filled)
        return filled, self.loras.uses(filled)

    def _biases(self) -> list[float | None]:
        if self.bias is None:
            return [None] * len(self.overrides)
        return [
            value if overrides.kv_cache_attention_bias is None else overrides.kv_cache_attention_bias
            for value, overrides in zip(self.bias.values(), self.overrides, strict=True)
        ]


def read_scheduled_values(job: Job, settings: Settings, diagnostics: Diagnostics) -> ScheduledValues:
    clock = Clock(settings.num_frames, settings.fps, settings.seeds.at(0))
    return ScheduledValues(
        noise=Curve(place(job, "noise_scale"), settings.noise_scales, *NOISE_SCALE, clock, diagnostics),
        vace=Curve(place(job, "vace_context_scale"), job.vace_context_scale, *CONTEXT_SCALE, clock, diagnostics),
        bias=_read_bias(job, settings.spec, clock, diagnostics),
        loras=read_loras(job, settings.spec, clock, diagnostics),
    )


def _read_bias(job: Job, spec: PipelineSpec, clock: Clock, diagnostics: Diagnostics) -> Curve | None:
    if spec.attention_bias is None:
        return None
    schedule = job.kv_cache_attention_bias or Schedule((spec.attention_bias,))
    return Curve(place(job, "kv_cache_attention_bias"), schedule, *ATTENTION_BIAS, clock, diagnostics)
