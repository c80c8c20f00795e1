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
    MIN_TRANSITION_STEPS,
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
"""Tolerance, in frames, for rounding errors of a time that is meant to be exactly that of a frame."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. Exactly one of `chunk` and `frame` is set.

    order     index in the file; place: its line and column, for messages.
    position  the user's position: "chunk 3", "frame 30", "time 2.5 s".
    fields    names of the fields that it sets, in the model's order, clips last.
    repeated  it has acted in an earlier chunk of its slot.
    """

    order: int
    place: str
    position: str
    chunk: int | None
    frame: int | None
    fields: tuple[str, ...] = ()
    overrides: ChunkOverrides = NO_OVERRIDES
    repeated: bool = False

    @property
    def label(self) -> str:
        return f"{self.place} ({self.position})"

    @property
    def clip_fields(self) -> Mapping[str, ClipField]:
        return self.overrides.clip_fields

    def in_later_chunk(self) -> Entry:
        """Return the entry for a later chunk of its slot, where only some of its fields act."""
        return replace(self, fields=tuple(name for name in self.fields if name in WHOLE_SLOT), repeated=True)


def frame_at(seconds: float, fps: Fraction) -> int:
    """Return the frame that is shown at a time (seconds >= 0)."""
    return math.floor(seconds * float(fps) + TIME_SLACK)


def read_entries(job: Job, fps: Fraction, num_frames: int, diagnostics: Diagnostics) -> list[Entry]:
    entries = [
        _read(order, place(job, "chunk_specs", order), spec, fps, entry_clip_fields(job, order))
        for order, spec in enumerate(job.chunk_specs)
    ]
    for entry in entries:
        if entry.frame is not None and entry.frame >= num_frames:
            diagnostics.problems.append(
                f"{entry.label}: frame {entry.frame} is beyond the end; this job has frames 0 to {num_frames - 1}"
            )
        if not entry.fields:
            diagnostics.warnings.append(f"{entry.label}: sets nothing")
    return entries


def _read(order: int, where: str, spec: ChunkSpec, fps: Fraction, clip_fields: Mapping[str, ClipField]) -> Entry:
    if spec.chunk is not None:
        position, chunk, frame = f"chunk {spec.chunk}", spec.chunk, None
    elif spec.frame is not None:
        position, chunk, frame = f"frame {spec.frame}", None, spec.frame
    else:
        assert spec.time is not None, "the job model lets no entry through without a place"
        position, chunk, frame = f"time {spec.time:g} s", None, frame_at(spec.time, fps)
    overrides = read_overrides(f"{where} ({position})", spec, clip_fields)
    return Entry(order, where, position, chunk, frame, (*_fields(spec), *clip_fields), overrides)


def _fields(spec: ChunkSpec) -> list[str]:
    written = [name for name in type(spec).model_fields if name in spec.model_fields_set and name not in ELSEWHERE]
    fields = [name for name in written if getattr(spec, name) is not None]
    if "transition_target_prompts" in fields and "transition_num_steps" not in fields:
        fields.append("transition_num_steps")
    return fields


@dataclass(frozen=True, slots=True)
class ChunkStart:
    """The facts about a chunk that are known before it is decided whether it begins with a cut.

    frames_if_uncut  its frames if it does not: entries and keyframes in them take effect at its first frame.
    list_position    the `chunk:` of entries, and the index into lists of values, that it takes; see `Grid`.
    """

    index: int
    first_frame: int
    frames_if_uncut: int
    list_position: int

    @property
    def end_if_uncut(self) -> int:
        """The frame after the last one, if the chunk does not begin with a cut."""
        return self.first_frame + self.frames_if_uncut


class EntryQueue:
    """The entries that no chunk has taken yet. `take` is called once per chunk, in order."""

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
        """True if no entry is left, and none acts in further chunks of its slot."""
        return not (self._by_chunk or self._by_frame or self._current[1])

    def take(self, start: ChunkStart) -> list[Entry]:
        """Take the entries of a chunk, in the order of their frames.

        An entry by chunk is at the chunk's first frame; entries of the same frame keep the order of the file.
        """
        taken = [(start.first_frame, entry.order, entry) for entry in self._at(start.list_position)]
        while self._by_frame and self._by_frame[0][0] < start.end_if_uncut:
            frame, order, entry = self._by_frame.popleft()
            taken.append((max(frame, start.first_frame), order, entry))
        return [entry for _, _, entry in sorted(taken, key=lambda item: item[:2])]

    def _at(self, position: int) -> list[Entry]:
        """Return the entries by `chunk`. In later chunks of a slot, fields that act in the whole slot are repeated."""
        if position == self._current[0]:
            return [entry.in_later_chunk() for entry in self._current[1]]
        self._current = position, self._by_chunk.pop(position, [])
        return self._current[1]

    def report_unused(self, chunks: int, diagnostics: Diagnostics) -> None:
        """Report entries that no chunk has taken as problems. `chunks`: number of chunks of the job."""
        for index in sorted(self._by_chunk):
            for entry in self._by_chunk[index]:
                diagnostics.problems.append(f"{entry.label}: {self._grid.missing(index, chunks)}")
        for frame, _, entry in self._by_frame:
            # The thirteenth frame of a video cut belongs to the next chunk; here there is none.
            diagnostics.problems.append(
                f"{entry.label}: no chunk starts after frame {frame}; allowed: 0 to {frame - 1}"
            )


def merge(entries: Sequence[Entry], chunk: int, diagnostics: Diagnostics) -> ChunkOverrides:
    """Merge the entries of a chunk. If two set the same field, the later one wins, with a warning."""
    merged = ChunkOverrides(" + ".join(entry.label for entry in entries))
    setters: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        for shown, key in _settings(entry):
            if key in setters:
                diagnostics.warnings.append(
                    f"{entry.label} and {setters[key].label} both act in chunk {chunk} and set {shown}: "
                    f"the later one, {entry.position}, wins"
                )
            setters[key] = entry
        merged = entry.overrides.over(merged, entry.fields)
    if not merged.wants_transition and merged.transition_method != DEFAULT_TRANSITION_METHOD:
        diagnostics.problems.append(
            f"{merged.where}: transition_method needs transition_num_steps ({MIN_TRANSITION_STEPS} or more)"
        )
    return merged


def _settings(entry: Entry) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield (name in messages, key) of each setting of an entry; the scale of each LoRA is a separate setting."""
    for name in entry.fields:
        if name == "lora_scales":
            for path in entry.overrides.lora_scales:
                yield f"the scale of {Path(path).name}", (name, path)
        else:
            yield name, ("prompts" if name in PROMPT_FIELDS else name, "")


@dataclass(frozen=True, slots=True)
class Grid:
    """Maps chunks to the `chunk:` numbers of entries. `by_slots`: these count slots; a chunk has the nearest slot."""

    by_slots: bool
    num_frames: int

    def start(self, index: int, first_frame: int, frames_if_uncut: int) -> ChunkStart:
        return ChunkStart(index, first_frame, frames_if_uncut, self.position(index, first_frame))

    def position(self, index: int, first_frame: int) -> int:
        """Return the `chunk:` number of a chunk; several chunks may share a slot."""
        return geometry.protocol_slot(first_frame, self.num_frames) if self.by_slots else index

    def missing(self, position: int, chunks: int) -> str:
        """Return the reason why no chunk took the entry of `position`. `chunks`: number of chunks of the job."""
        noun, count = ("slot", self._slots) if self.by_slots else ("chunk", chunks)
        if position < count:
            return f"no chunk begins near slot {position} (cuts have moved them)"
        has = f"{noun}s 0 to {count - 1}" if count > 1 else f"only {noun} 0"
        return f"there is no such {noun}; this job has {has}"

    @property
    def _slots(self) -> int:
        return -(-self.num_frames // geometry.PROTOCOL_SLOT_FRAMES)
