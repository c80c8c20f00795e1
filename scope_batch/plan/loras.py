"""Resolves which LoRAs a job has, their scale in each chunk, and the form in which each is applied."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.core.plan import Chunk, ChunkGrid, LoraUse
from scope_batch.job.schedule import LORA_SCALE, Schedule
from scope_batch.pipelines.spec import PipelineSpec
from scope_batch.plan.cuts import LORA_CHANGE
from scope_batch.plan.diagnostics import Diagnostics, place
from scope_batch.plan.entries import ChunkStart
from scope_batch.plan.schedules import Clock, Curve

if TYPE_CHECKING:
    from scope_batch.job import Job


@dataclass(slots=True)
class LoraCurve:
    """One LoRA's scale from chunk to chunk.

    A scale set by an entry lasts; for a LoRA with a schedule it replaces the value of its chunk only.
    `replaced`: per chunk, the scale that replaces the curve's value, None: none. `now`: the current scale, if known.
    `lasting`: scales set by entries last.
    """

    path: Path
    curve: Curve
    replaced: list[float | None] = field(default_factory=list)
    now: float | None = None
    lasting: bool = field(init=False)

    def __post_init__(self) -> None:
        self.lasting = self.curve.schedule.constant is not None

    def advance(self, start: ChunkStart, override: float | None) -> bool:
        """Advance to the next chunk; return True if the scale changes. `override`: the scale set by its entries."""
        self.curve.advance(start)
        before, replaced_before = self.now, self.replaced[-1] if self.replaced else None
        replaced = replaced_before if override is None and self.lasting else override
        self.replaced.append(replaced)
        self.now = self.curve.known if replaced is None else replaced
        if start.index == 0:
            return False
        if replaced is None and replaced_before is None:
            return self.curve.moves
        return self.now is None or self.now != before

    def values(self) -> tuple[float, ...]:
        return tuple(
            value if replaced is None else replaced
            for replaced, value in zip(self.replaced, self.curve.values(), strict=True)
        )


@dataclass(slots=True)
class Loras:
    """All LoRAs of a job. `by_path`: every spelling of a path in the job -> curve; a file has one curve."""

    job: Job
    diagnostics: Diagnostics
    by_path: dict[str, LoraCurve]
    curves: list[LoraCurve] = field(init=False)

    def __post_init__(self) -> None:
        self.curves = list({id(lora): lora for lora in self.by_path.values()}.values())

    def advance(self, start: ChunkStart, override: Mapping[str, float]) -> bool:
        """Advance to the next chunk; return True if any scale changes. `override`: path -> scale set by its entries."""
        if not self.curves:
            return False
        replaced = {id(self.by_path[path]): scale for path, scale in override.items()}
        moves = [lora.advance(start, replaced.get(id(lora))) for lora in self.curves]
        return any(moves)

    def scales(self, chunks: int) -> list[tuple[float, ...]]:
        """Return the scales of each of `chunks` chunks, in the order of `uses`."""
        if not self.curves:
            return [()] * chunks
        return list(zip(*(lora.values() for lora in self.curves), strict=True))

    def recache_reason(self, chunk: ChunkGrid) -> str | None:
        """Return why the KV cache is rebuilt before a chunk in which a scale changes; None if it is kept."""
        recached = not chunk.cut and self.job.on_lora_change == "recache"
        reasons = [reason for reason in (chunk.recache_reason, LORA_CHANGE if recached else None) if reason]
        return " and ".join(reasons) or None

    def uses(self, chunks: Sequence[Chunk]) -> tuple[LoraUse, ...]:
        """Return how each LoRA is applied: merged, or as a side branch."""
        reasons = [reason for chunk in chunks for reason in (chunk.cut_reason, chunk.recache_reason) if reason]
        if self.job.on_lora_change != "keep" and self.by_path and not any(LORA_CHANGE in reason for reason in reasons):
            changed = any(chunk.lora_changed for chunk in chunks)
            reason = "a scale changes only in chunks that start with a cut or keep their cache for another reason"
            self.diagnostics.notes.append(
                f"{place(self.job, 'on_lora_change')} has no effect: {reason if changed else 'no scale changes'}"
            )
        return tuple(self._use(lora, position, chunks) for position, lora in enumerate(self.curves))

    def _use(self, lora: LoraCurve, position: int, chunks: Sequence[Chunk]) -> LoraUse:
        scales = [chunk.lora_scales[position] for chunk in chunks]
        change = next((chunk for chunk in chunks if scales[chunk.index] != scales[0]), None)
        if change is not None and self.job.lora_merge == "always":
            self.diagnostics.problems.append(
                f"{lora.curve.where}: lora_merge: always needs one scale for the whole job, and this one changes at "
                f"chunk {change.index} (frame {change.first_frame}); allowed: auto, never"
            )
        if self.job.lora_merge == "always" and self.job.quantization is not None:
            self.diagnostics.problems.append(
                f"{lora.curve.where}: lora_merge: always contradicts quantization: {self.job.quantization}, under "
                "which LoRAs stay beside the weights; allowed: auto, never"
            )
        if self.job.lora_scales and position < len(self.job.lora_scales) and None not in lora.replaced:
            self.diagnostics.notes.append(f"{lora.curve.where}: the job's scale has no effect: every chunk has its own")
        if not any(scales):
            self.diagnostics.notes.append(f"{lora.curve.where}: the scale is 0 in every chunk: the LoRA has no effect")
        return LoraUse(lora.path, merged=change is None and self._merges)

    @property
    def _merges(self) -> bool:
        return self.job.lora_merge != "never" and self.job.quantization is None


def has_loras(job: Job) -> bool:
    return bool(job.lora_scales) or any(entry.lora_scales for entry in job.chunk_specs)


def read_loras(job: Job, spec: PipelineSpec, clock: Clock, diagnostics: Diagnostics) -> Loras:
    """Read the LoRAs: those of the job's `lora_scales`, then those that only `chunk_specs` name (scale 0 before)."""
    by_path: dict[str, LoraCurve] = {}
    by_file: dict[str, LoraCurve] = {}
    for path, schedule, where in _named(job):
        file = os.path.realpath(path)
        if file not in by_file:
            by_file[file] = LoraCurve(Path(path), Curve(where, schedule, *LORA_SCALE, clock, diagnostics))
        by_path.setdefault(path, by_file[file])
    if by_file:
        _check_change(job, spec, diagnostics)
    return Loras(job, diagnostics, by_path)


def _check_change(job: Job, spec: PipelineSpec, diagnostics: Diagnostics) -> None:
    where = place(job, "on_lora_change")
    if job.on_lora_change == "cut" and not job.manage_cache:
        diagnostics.problems.append(f"{where}: cut contradicts manage_cache: false; allowed beside it: keep, recache")
    if job.on_lora_change == "recache" and spec.on_prompt_change != "recache":
        reason = "recomputes its context for every chunk anyway" if spec.memory == "context" else "never recaches"
        diagnostics.problems.append(f"{where}: {spec.id} {reason}; allowed: keep, cut")


def _named(job: Job) -> Iterator[tuple[str, Schedule[float], str]]:
    for path, schedule in job.lora_scales.items():
        yield path, schedule, _place(job, "lora_scales", path)
    for index, entry in enumerate(job.chunk_specs):
        for path in entry.lora_scales or ():
            yield path, Schedule((0.0,)), _place(job, "chunk_specs", index, "lora_scales", path)


def _place(job: Job, *loc: str | int) -> str:
    """Return "job.yaml:4:3: LoRA dissolve.safetensors"."""
    name = f"LoRA {Path(str(loc[-1])).name}"
    return f"{job.where(*loc)}: {name}" if job.source.name else name


def lora_names(loras: Sequence[LoraUse]) -> tuple[str, ...]:
    """Return file names for people; whole paths where two names are equal."""
    names = [lora.path.name for lora in loras]
    return tuple(str(lora.path) if names.count(name) > 1 else name for lora, name in zip(loras, names, strict=True))
