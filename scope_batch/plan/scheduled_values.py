"""Resolves all scheduled numbers chunk by chunk, then builds the chunks with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from scope_batch.core.plan import Chunk, ChunkGrid, LoraUse, Vace
from scope_batch.job.schedule import ATTENTION_BIAS, CONTEXT_SCALE, NOISE_SCALE, Schedule
from scope_batch.pipelines.spec import PipelineSpec
from scope_batch.plan.chunk_overrides import NO_OVERRIDES, ChunkOverrides
from scope_batch.plan.diagnostics import Diagnostics, place
from scope_batch.plan.entries import ChunkStart
from scope_batch.plan.loras import Loras, read_loras
from scope_batch.plan.schedules import Clock, Curve
from scope_batch.plan.settings import Settings

if TYPE_CHECKING:
    from scope_batch.job import Job


@dataclass(slots=True)
class ScheduledValues:
    """The scheduled numbers of a job. `advance` is called for every chunk in order, then `apply` builds all chunks.

    bias  weight of cached frames in attention, where the pipeline has one.
    """

    noise: Curve
    vace: Curve
    bias: Curve | None
    loras: Loras
    overrides: list[ChunkOverrides] = field(default_factory=list)

    def advance(self, start: ChunkStart, overrides: ChunkOverrides) -> bool:
        """Advance to the next chunk; return True if the scale of a LoRA changes.

        `overrides` replace the scheduled numbers in this chunk.
        """
        self.overrides.append(overrides)
        for curve in self._curves:
            curve.advance(start)
        return self.loras.advance(start, overrides.lora_scales)

    @property
    def are_constant(self) -> bool:
        """True if no number is scheduled: each is the same in all chunks whose entries do not set it."""
        return not self.loras.curves and all(curve.is_constant for curve in self._curves)

    def repeat(self, chunks: int) -> None:
        """Add `chunks` chunks without entries, with constant numbers."""
        self.overrides += [NO_OVERRIDES] * chunks
        for curve in self._curves:
            curve.repeat(chunks)

    @property
    def _curves(self) -> list[Curve]:
        return [curve for curve in (self.noise, self.vace, self.bias) if curve is not None]

    def apply(self, grid: Sequence[ChunkGrid], vaces: Sequence[Vace | None]) -> tuple[list[Chunk], tuple[LoraUse, ...]]:
        """Build the chunks from the grid and the VACE input of each. Returns them with the use of each LoRA."""
        noise_scales, vace_scales, biases = self.noise.values(), self.vace.values(), self._biases()
        lora_scales = self.loras.scales(len(grid))
        before = lora_scales[0]
        chunks: list[Chunk] = []
        for cell, overrides, noise, vace, vace_scale, bias, scales in zip(
            grid, self.overrides, noise_scales, vaces, vace_scales, biases, lora_scales, strict=True
        ):
            if vace is not None:
                own = overrides.vace_context_scale
                vace = replace(vace, scale=vace_scale if own is None else own)
            if cell.mode == "text":
                noise_scale = None
            else:
                noise_scale = noise if overrides.noise_scale is None else overrides.noise_scale
            lora_changed = scales != before
            chunks.append(
                Chunk(
                    index=cell.index,
                    first_frame=cell.first_frame,
                    frames=cell.frames,
                    keep=cell.keep,
                    latents=cell.latents,
                    start_latent=cell.start_latent,
                    mode=cell.mode,
                    cut_reason=cell.cut_reason,
                    recache_reason=self.loras.recache_reason(cell) if lora_changed else cell.recache_reason,
                    conditioning=cell.conditioning,
                    text_changed=cell.text_changed,
                    seed=cell.seed,
                    denoising_steps=cell.denoising_steps,
                    noise_controller=cell.noise_controller,
                    noise_scale=noise_scale,
                    vace=vace,
                    lora_scales=scales,
                    lora_changed=lora_changed,
                    attention_bias=bias,
                )
            )
            before = scales
        return chunks, self.loras.uses(chunks)

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
