"""Reads the entries of `chunk_specs` and merges those that act in the same chunk."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.core import geometry
from scope_batch.plan.chunk_overrides import (
    DEFAULT_TRANSITION_METHOD,
    LEAST_STEPS,
    NO_OVERRIDES,
    PROMPT_FIELDS,
    ChunkOverrides,
    read_overrides,
)
from scope_batch.plan.diagnostics import Diagnostics, place
from scope_batch.plan.material_fields import KINDS, PART_FIELDS, ClipField, entry_clip_fields

if TYPE_CHECKING:
    from scope_batch.job import ChunkSpec, Job

PLACES = ("chunk", "frame", "time")
ELSEWHERE = frozenset((*PLACES, *KINDS, *PART_FIELDS, "vace_temporally_locked"))
"""Fields of an entry that give its place or its clips."""
WHOLE_SLOT = frozenset(
    ("seed", "noise_scale", "noise_controller", "denoising_steps", "kv_cache_attention_bias", "manage_cache",
     "vace_context_scale", "lora_scales", "input_video")
)  # fmt: skip
"""Fields that act in every chunk of a slot; prompts, images, cuts and control act in its first one."""
TIME_SLACK = 1e-6
"""Frames. A time that is meant to be exactly a frame's must not miss it by a rounding error."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. Exactly one of `chunk` and `frame` is set.

    order   position in the file; place: where that is, for messages.
    asked   the user's wording of where it should act.
    fields  the job's names of what it sets, in the model's order, clips last.
    again   it acted in an earlier chunk of its slot already.
    """

    order: int
    place: str
    asked: str
    chunk: int | None
    frame: int | None
    fields: tuple[str, ...] = ()
    overrides: ChunkOverrides = NO_OVERRIDES
    again: bool = False

    @property
    def label(self) -> str:
        return f"{self.place} ({self.asked})"

    @property
    def clip_fields(self) -> Mapping[str, ClipField]:
        return self.overrides.clip_fields

    def in_later_chunk(self) -> Entry:
        """The entry in a later chunk of its slot: only some of its fields act there."""
        return replace(self, fields=tuple(name for name in self.fields if name in WHOLE_SLOT), again=True)


def frame_at(seconds: float, fps: Fraction) -> int:
    """The frame that is on screen at a time (seconds >= 0)."""
    return math.floor(seconds * float(fps) + TIME_SLACK)


def read_entries(job: Job, fps: Fraction, num_frames: int, diagnostics: Diagnostics) -> list[Entry]:
    entries = [
        _read(order, place(job, "chunk_specs", order), spec, fps, entry_clip_fields(job, order))
        for order, spec in enumerate(job.chunk_specs)
    ]
    for entry in entries:
        if entry.frame is not None and entry.frame >= num_frames:
            diagnostics.problems.append(
                f"{entry.label}: frame {entry.frame} lies beyond the end; this job has frames 0 to {num_frames - 1}"
            )
        if not entry.fields:
            diagnostics.warnings.append(f"{entry.label}: sets nothing")
    return entries


def _read(order: int, where: str, spec: ChunkSpec, fps: Fraction, clip_fields: Mapping[str, ClipField]) -> Entry:
    if spec.chunk is not None:
        asked, chunk, frame = f"chunk {spec.chunk}", spec.chunk, None
    elif spec.frame is not None:
        asked, chunk, frame = f"frame {spec.frame}", None, spec.frame
    else:
        assert spec.time is not None, "the job model lets no entry through without a place"
        asked, chunk, frame = f"time {spec.time:g} s", None, frame_at(spec.time, fps)
    overrides = read_overrides(f"{where} ({asked})", spec, clip_fields)
    return Entry(order, where, asked, chunk, frame, (*_fields(spec), *clip_fields), overrides)


def _fields(spec: ChunkSpec) -> list[str]:
    written = [name for name in type(spec).model_fields if name in spec.model_fields_set and name not in ELSEWHERE]
    fields = [name for name in written if getattr(spec, name) is not None]
    if "transition_target_prompts" in fields and "transition_num_steps" not in fields:
        fields.append("transition_num_steps")
    return fields


@dataclass(frozen=True, slots=True)
class ChunkStart:
    """What is known of a chunk before it is decided whether it is cut off from the one before.

    frames_if_uncut  frames that it makes if it is not: entries and keyframes in them take effect at its first frame.
    list_position    the `chunk:` of entries, and the index into lists of values, that it takes; see `Grid`.
    """

    index: int
    first_frame: int
    frames_if_uncut: int
    list_position: int

    @property
    def end_if_uncut(self) -> int:
        """The frame after its last one, if it is not cut."""
        return self.first_frame + self.frames_if_uncut


class Agenda:
    """Entries waiting for their chunk. Chunks ask from left to right, each once."""

    def __init__(self, entries: Iterable[Entry], grid: Grid) -> None:
        entries = list(entries)
        self._grid = grid
        self._current: tuple[int, list[Entry]] = -1, []
        self._by_chunk: dict[int, list[Entry]] = {}
        for entry in entries:
            if entry.chunk is not None:
                self._by_chunk.setdefault(entry.chunk, []).append(entry)
        placed = [(entry.frame, entry.order, entry) for entry in entries if entry.frame is not None]
        self._by_frame = deque(sorted(placed, key=lambda item: item[:2]))

    @property
    def is_empty(self) -> bool:
        """No entry is left, and none acts in further chunks of its slot."""
        return not (self._by_chunk or self._by_frame or self._current[1])

    def take(self, start: ChunkStart) -> list[Entry]:
        """The entries of a chunk, the later ones last.

        An entry by chunk stands at the chunk's first frame; of two at one frame the file's order decides.
        """
        taken = [(start.first_frame, entry.order, entry) for entry in self._at(start.list_position)]
        while self._by_frame and self._by_frame[0][0] < start.end_if_uncut:
            frame, order, entry = self._by_frame.popleft()
            taken.append((max(frame, start.first_frame), order, entry))
        return [entry for _, _, entry in sorted(taken, key=lambda item: item[:2])]

    def _at(self, position: int) -> list[Entry]:
        """The entries by `chunk`; what acts in all chunks of a slot acts again in its later ones."""
        if position == self._current[0]:
            return [entry.in_later_chunk() for entry in self._current[1]]
        self._current = position, self._by_chunk.pop(position, [])
        return self._current[1]

    def report_left(self, chunks: int, diagnostics: Diagnostics) -> None:
        """Entries that never landed are problems. `chunks`: how many the job turned out to have."""
        for index in sorted(self._by_chunk):
            for entry in self._by_chunk[index]:
                diagnostics.problems.append(f"{entry.label}: {self._grid.missing(index, chunks)}")
        for frame, _, entry in self._by_frame:
            # The thirteenth frame of a video cut lies beyond its reach, and belongs to the next chunk if there is one.
            diagnostics.problems.append(
                f"{entry.label}: no chunk starts after frame {frame}; allowed: 0 to {frame - 1}"
            )


def merge(entries: Sequence[Entry], chunk: int, diagnostics: Diagnostics) -> ChunkOverrides:
    """The settings of all entries that share a chunk; where two set one field the later wins, with a warning."""
    merged = ChunkOverrides(" + ".join(entry.label for entry in entries))
    setters: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        for shown, key in _settings(entry):
            if key in setters:
                diagnostics.warnings.append(
                    f"{entry.label} and {setters[key].label} both land on chunk {chunk} and set {shown}: "
                    f"the later place, {entry.asked}, wins"
                )
            setters[key] = entry
        merged = entry.overrides.over(merged, entry.fields)
    if not merged.wants_transition and merged.transition_method != DEFAULT_TRANSITION_METHOD:
        diagnostics.problems.append(
            f"{merged.where}: transition_method needs transition_num_steps ({LEAST_STEPS} or more)"
        )
    return merged


def _settings(entry: Entry) -> Iterator[tuple[str, tuple[str, str]]]:
    """(name in messages, key) of each setting of an entry; the scale of each LoRA is a setting of its own."""
    for name in entry.fields:
        if name == "lora_scales":
            for path in entry.overrides.lora_scales:
                yield f"the scale of {Path(path).name}", (name, path)
        else:
            yield name, ("prompts" if name in PROMPT_FIELDS else name, "")


@dataclass(frozen=True, slots=True)
class Grid:
    """by_slots: `chunk: k` is slot k; a chunk takes the entry of the slot that it begins in, to the nearest half."""

    by_slots: bool
    num_frames: int

    def start(self, index: int, first_frame: int, frames_if_uncut: int) -> ChunkStart:
        return ChunkStart(index, first_frame, frames_if_uncut, self.position(index, first_frame))

    def position(self, index: int, first_frame: int) -> int:
        """The `chunk:` whose entry the chunk takes; several chunks may share a slot."""
        return geometry.protocol_slot(first_frame, self.num_frames) if self.by_slots else index

    def missing(self, position: int, chunks: int) -> str:
        """Why no chunk took the entry of `position`; `chunks`: how many the job turned out to have."""
        noun, count = ("slot", self._slots) if self.by_slots else ("chunk", chunks)
        if position < count:
            return f"no chunk begins near slot {position} (cuts have moved them)"
        has = f"{noun}s 0 to {count - 1}" if count > 1 else f"only {noun} 0"
        return f"there is no such {noun}; this job has {has}"

    @property
    def _slots(self) -> int:
        return -(-self.num_frames // geometry.PROTOCOL_SLOT_FRAMES)
