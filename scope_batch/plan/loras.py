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
class Track:
    """One LoRA's scale from chunk to chunk.

    A scale that a chunk asks for holds from there on; for a LoRA with a schedule it replaces that chunk's value only.
    `asked`: per chunk what replaces the curve's value, None = nothing. `now`: the value if it is known yet.
    `lasting`: what a chunk asks for holds from there on.
    """

    path: Path
    curve: Curve
    asked: list[float | None] = field(default_factory=list)
    now: float | None = None
    lasting: bool = field(init=False)

    def __post_init__(self) -> None:
        self.lasting = self.curve.schedule.constant is not None

    def advance(self, start: ChunkStart, own: float | None) -> bool:
        """Take the next chunk; returns whether the scale moves with it. `own`: what its entries ask for."""
        self.curve.advance(start)
        before, asked_before = self.now, self.asked[-1] if self.asked else None
        asked = asked_before if own is None and self.lasting else own
        self.asked.append(asked)
        self.now = self.curve.known if asked is None else asked
        if start.index == 0:
            return False
        if asked is None and asked_before is None:
            return self.curve.moves
        return self.now is None or self.now != before

    def values(self) -> tuple[float, ...]:
        return tuple(
            value if asked is None else asked for asked, value in zip(self.asked, self.curve.values(), strict=True)
        )


@dataclass(slots=True)
class Loras:
    """`track_of`: by every spelling of a path that the job uses; one file has one track."""

    job: Job
    diagnostics: Diagnostics
    track_of: dict[str, Track]
    tracks: list[Track] = field(init=False)

    def __post_init__(self) -> None:
        self.tracks = list({id(track): track for track in self.track_of.values()}.values())

    def advance(self, start: ChunkStart, own: Mapping[str, float]) -> bool:
        """Take the next chunk; returns whether the scale of any LoRA moves with it. `own`: what its entries ask for."""
        if not self.tracks:
            return False
        asked = {id(self.track_of[path]): scale for path, scale in own.items()}
        moves = [track.advance(start, asked.get(id(track))) for track in self.tracks]
        return any(moves)

    def scales(self, chunks: int) -> list[tuple[float, ...]]:
        """The scales of each of `chunks` chunks, in the order of `uses`."""
        if not self.tracks:
            return [()] * chunks
        return list(zip(*(track.values() for track in self.tracks), strict=True))

    def recache_reason(self, chunk: ChunkGrid) -> str | None:
        """Why the KV cache is rebuilt before a chunk in which a scale changes."""
        recached = not chunk.cut and self.job.on_lora_change == "recache"
        reasons = [reason for reason in (chunk.recache_reason, LORA_CHANGE if recached else None) if reason]
        return " and ".join(reasons) or None

    def uses(self, chunks: Sequence[Chunk]) -> tuple[LoraUse, ...]:
        """The form in which each LoRA is applied."""
        reasons = [reason for chunk in chunks for reason in (chunk.cut_reason, chunk.recache_reason) if reason]
        if self.job.on_lora_change != "keep" and self.track_of and not any(LORA_CHANGE in reason for reason in reasons):
            changed = any(chunk.lora_changed for chunk in chunks)
            why = "a scale changes only in chunks that start anew or keep their cache for another reason"
            self.diagnostics.notes.append(
                f"{place(self.job, 'on_lora_change')} has no effect: {why if changed else 'no scale changes'}"
            )
        return tuple(self._use(track, position, chunks) for position, track in enumerate(self.tracks))

    def _use(self, track: Track, position: int, chunks: Sequence[Chunk]) -> LoraUse:
        scales = [chunk.lora_scales[position] for chunk in chunks]
        change = next((chunk for chunk in chunks if scales[chunk.index] != scales[0]), None)
        if change is not None and self.job.lora_merge == "always":
            self.diagnostics.problems.append(
                f"{track.curve.where}: lora_merge: always needs one scale for the whole job, and this one changes at "
                f"chunk {change.index} (frame {change.first_frame}); allowed: auto, never"
            )
        if self.job.lora_merge == "always" and self.job.quantization is not None:
            self.diagnostics.problems.append(
                f"{track.curve.where}: lora_merge: always contradicts quantization: {self.job.quantization}, under "
                "which LoRAs stay beside the weights; allowed: auto, never"
            )
        if self.job.lora_scales and position < len(self.job.lora_scales) and None not in track.asked:
            self.diagnostics.notes.append(
                f"{track.curve.where}: the job's scale has no effect: every chunk has its own"
            )
        if not any(scales):
            self.diagnostics.notes.append(f"{track.curve.where}: the scale is 0 in every chunk: the LoRA has no effect")
        return LoraUse(track.path, merged=change is None and self._merges)

    @property
    def _merges(self) -> bool:
        return self.job.lora_merge != "never" and self.job.quantization is None


def has_loras(job: Job) -> bool:
    return bool(job.lora_scales) or any(entry.lora_scales for entry in job.chunk_specs)


def read_loras(job: Job, spec: PipelineSpec, clock: Clock, diagnostics: Diagnostics) -> Loras:
    """In the order of the job's `lora_scales`, then as `chunk_specs` name them first (their scale is 0 before)."""
    track_of: dict[str, Track] = {}
    by_file: dict[str, Track] = {}
    for path, schedule, where in _named(job):
        file = os.path.realpath(path)
        if file not in by_file:
            by_file[file] = Track(Path(path), Curve(where, schedule, *LORA_SCALE, clock, diagnostics))
        track_of.setdefault(path, by_file[file])
    if by_file:
        _check_change(job, spec, diagnostics)
    return Loras(job, diagnostics, track_of)


def _check_change(job: Job, spec: PipelineSpec, diagnostics: Diagnostics) -> None:
    where = place(job, "on_lora_change")
    if job.on_lora_change == "cut" and not job.manage_cache:
        diagnostics.problems.append(f"{where}: cut contradicts manage_cache: false; allowed beside it: keep, recache")
    if job.on_lora_change == "recache" and spec.on_prompt_change != "recache":
        why = "makes its context anew for every chunk anyway" if spec.memory == "context" else "never recaches"
        diagnostics.problems.append(f"{where}: {spec.id} {why}; allowed: keep, cut")


def _named(job: Job) -> Iterator[tuple[str, Schedule[float], str]]:
    for path, schedule in job.lora_scales.items():
        yield path, schedule, _place(job, "lora_scales", path)
    for index, entry in enumerate(job.chunk_specs):
        for path in entry.lora_scales or ():
            yield path, Schedule((0.0,)), _place(job, "chunk_specs", index, "lora_scales", path)


def _place(job: Job, *loc: str | int) -> str:
    """ "job.yaml:4:3: LoRA dissolve.safetensors"."""
    name = f"LoRA {Path(str(loc[-1])).name}"
    return f"{job.where(*loc)}: {name}" if job.source.name else name


def lora_names(loras: Sequence[LoraUse]) -> tuple[str, ...]:
    """File names for people; where two are alike, whole paths."""
    names = [lora.path.name for lora in loras]
    return tuple(str(lora.path) if names.count(name) > 1 else name for lora, name in zip(loras, names, strict=True))
