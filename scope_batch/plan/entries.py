"""Reads the entries of `chunk_specs`: where each acts, which of them share a chunk, and what they ask for together."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_batch.core import geometry
from scope_batch.core.conditioning import BlendMethod, Prompt
from scope_batch.plan.diagnostics import Diagnostics, place
from scope_batch.plan.material_fields import KINDS, PART_FIELDS, ClipField, entry_clip_fields

if TYPE_CHECKING:
    from scope_batch.job import ChunkSpec, Job
    from scope_batch.job.prompts import WeightedPrompt

PLACES = ("chunk", "frame", "time")
ELSEWHERE = frozenset((*PLACES, *KINDS, *PART_FIELDS, "vace_temporally_locked"))
"""Fields of an entry that are read as its place or its material."""
PROMPT_FIELDS = ("text", "prompts", "transition_target_prompts")
"""Three spellings of one thing: the prompts to go to."""
WHOLE_SLOT = frozenset(
    ("seed", "noise_scale", "noise_controller", "denoising_steps", "kv_cache_attention_bias", "manage_cache",
     "vace_context_scale", "lora_scales")
)  # fmt: skip
"""Fields that act in every chunk of a slot; prompts, images and cuts act in its first one."""
PROTOCOL_TRANSITION_STEPS = 4
"""Steps of a `transition_target_prompts` that names none: the protocol's default."""
TIME_SLACK = 1e-6
"""Frames. A time that is meant to be exactly a frame's must not miss it by a rounding error."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. Exactly one of `chunk` and `frame` is set.

    order   position in the file; place: where that is, for messages.
    asked   the user's wording of where it should act.
    values  what the entry sets, under the job's field names, in the model's order; material apart:
    offers  by its field.
    again   it acted in an earlier chunk of its slot already.
    """

    order: int
    place: str
    asked: str
    chunk: int | None
    frame: int | None
    values: Mapping[str, Any]
    offers: Mapping[str, ClipField] = field(default_factory=dict)
    again: bool = False

    @property
    def label(self) -> str:
        return f"{self.place} ({self.asked})"

    @property
    def fields(self) -> tuple[str, ...]:
        return (*self.values, *self.offers)

    def in_later_chunk(self) -> Entry:
        values = {name: value for name, value in self.values.items() if name in WHOLE_SLOT}
        offers = {name: offer for name, offer in self.offers.items() if name == "input_video"}
        return replace(self, values=values, offers=offers, again=True)


def frame_at(seconds: float, fps: Fraction) -> int:
    """The frame that is on screen at a time (seconds >= 0)."""
    return math.floor(seconds * float(fps) + TIME_SLACK)


def read_entries(job: Job, fps: Fraction, num_frames: int, diagnostics: Diagnostics) -> list[Entry]:
    entries = [
        replace(_read(order, place(job, "chunk_specs", order), spec, fps), offers=entry_clip_fields(job, order))
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


def _read(order: int, where: str, spec: ChunkSpec, fps: Fraction) -> Entry:
    written = [name for name in type(spec).model_fields if name in spec.model_fields_set and name not in ELSEWHERE]
    values = {name: value for name in written if (value := getattr(spec, name)) is not None}
    if "transition_target_prompts" in values:
        values.setdefault("transition_num_steps", PROTOCOL_TRANSITION_STEPS)
    if spec.chunk is not None:
        return Entry(order, where, f"chunk {spec.chunk}", spec.chunk, None, values)
    if spec.frame is not None:
        return Entry(order, where, f"frame {spec.frame}", None, spec.frame, values)
    assert spec.time is not None, "the job model lets no entry through without a place"
    return Entry(order, where, f"time {spec.time:g} s", None, frame_at(spec.time, fps), values)


class Agenda:
    """Entries waiting for their chunk. Chunks ask from left to right, each once."""

    def __init__(self, entries: Iterable[Entry], grid: Grid) -> None:
        entries = list(entries)
        self._grid = grid
        self._here: tuple[int, list[Entry]] = -1, []
        self._by_chunk: dict[int, list[Entry]] = {}
        for entry in entries:
            if entry.chunk is not None:
                self._by_chunk.setdefault(entry.chunk, []).append(entry)
        placed = [(entry.frame, entry.order, entry) for entry in entries if entry.frame is not None]
        self._by_frame = deque(sorted(placed, key=lambda item: item[:2]))

    @property
    def is_empty(self) -> bool:
        """No entry is left, and none acts in further chunks of its slot."""
        return not (self._by_chunk or self._by_frame or self._here[1])

    def take(self, chunk: int, first_frame: int, reach: int) -> list[Entry]:
        """The entries of a chunk, the later ones last; `reach` = its frames if it is not cut.

        An entry by chunk stands at the chunk's first frame; of two at one frame the file's order decides.
        """
        taken = [(first_frame, entry.order, entry) for entry in self._at(self._grid.position(chunk, first_frame))]
        while self._by_frame and self._by_frame[0][0] < first_frame + reach:
            frame, order, entry = self._by_frame.popleft()
            taken.append((max(frame, first_frame), order, entry))
        return [entry for _, _, entry in sorted(taken, key=lambda item: item[:2])]

    def _at(self, position: int) -> list[Entry]:
        """The entries by `chunk`; what acts in all chunks of a slot is there again in its later ones."""
        if position == self._here[0]:
            return [entry.in_later_chunk() for entry in self._here[1]]
        self._here = position, self._by_chunk.pop(position, [])
        return self._here[1]

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


def merge(entries: list[Entry], chunk: int, diagnostics: Diagnostics) -> dict[str, Any]:
    """What entries that share a chunk say together; where two set one field the later wins, with a warning."""
    values: dict[str, Any] = {}
    origin: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        for name, key, value in _said(entry):
            if key in origin:
                diagnostics.warnings.append(
                    f"{entry.label} and {origin[key].label} both land on chunk {chunk} and set {name}: "
                    f"the later place, {entry.asked}, wins"
                )
            origin[key] = entry
            field, path = key
            values[field] = {**values.get(field, {}), path: value} if path else value
    return values


def _said(entry: Entry) -> Iterator[tuple[str, tuple[str, str], Any]]:
    """(name for people, field and path, value) of all that an entry sets; scales count by their LoRA's path."""
    for name, value in (*entry.values.items(), *entry.offers.items()):
        if name == "lora_scales":
            for path, scale in value.items():
                yield f"the scale of {Path(path).name}", (name, path), scale
        else:
            yield name, ("prompts" if name in PROMPT_FIELDS else name, ""), value


LEAST_STEPS = 2
"""Of a transition; fewer mean that the new prompt is there at once."""


@dataclass(frozen=True, slots=True)
class ChunkOverrides:
    """None = not asked for. `transition_steps` counts chunks; 0 and 1 mean at once. `offers`: material, by field."""

    where: str
    prompts: tuple[Prompt, ...] | None = None
    blend_method: BlendMethod | None = None
    transition_steps: int | None = None
    transition_method: BlendMethod = "linear"
    reset_cache: bool = False
    manage_cache: bool | None = None
    denoising_steps: tuple[int, ...] | None = None
    seed: int | None = None
    noise_scale: float | None = None
    noise_controller: bool | None = None
    vace_context_scale: float | None = None
    attention_bias: float | None = None
    lora_scales: Mapping[str, float] = field(default_factory=dict)
    offers: Mapping[str, ClipField] = field(default_factory=dict)
    first_image: Path | None = None
    last_image: Path | None = None
    reference: Path | None = None

    @property
    def wants_transition(self) -> bool:
        return self.transition_steps is not None and self.transition_steps >= LEAST_STEPS


NO_OVERRIDES = ChunkOverrides("")
"""What a chunk without entries asks for."""


def read_overrides(values: Mapping[str, Any], where: str, diagnostics: Diagnostics) -> ChunkOverrides:
    """`values`: merged entries of a chunk, under the job's names; `where` names those entries in messages."""
    if values.get("transition_num_steps", 0) < LEAST_STEPS and values.get("transition_method", "linear") != "linear":
        diagnostics.problems.append(f"{where}: transition_method needs transition_num_steps ({LEAST_STEPS} or more)")
    prompts = values.get("prompts")
    return ChunkOverrides(
        where=where,
        prompts=None if prompts is None else normalised(prompts),
        blend_method=values.get("prompt_interpolation_method"),
        transition_steps=values.get("transition_num_steps"),
        transition_method=values.get("transition_method", "linear"),
        reset_cache=values.get("reset_cache", False),
        manage_cache=values.get("manage_cache"),
        denoising_steps=values.get("denoising_steps"),
        seed=values.get("seed"),
        noise_scale=values.get("noise_scale"),
        noise_controller=values.get("noise_controller"),
        vace_context_scale=values.get("vace_context_scale"),
        attention_bias=values.get("kv_cache_attention_bias"),
        lora_scales=values.get("lora_scales", {}),
        offers={name: values[name] for name in KINDS if name in values},
        first_image=values.get("first_frame_image"),
        last_image=values.get("last_frame_image"),
        reference=next(iter(values.get("vace_ref_images", ())), None),
    )


@dataclass(frozen=True, slots=True)
class Grid:
    """by_slots: `chunk: k` is slot k; a chunk takes the entry of the slot that it begins in, to the nearest half."""

    by_slots: bool
    num_frames: int

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


def normalised(prompts: str | tuple[WeightedPrompt, ...]) -> tuple[Prompt, ...]:
    """One text, or weighted texts, as prompts whose weights sum to 1."""
    if isinstance(prompts, str):
        return (Prompt(prompts),)
    total = sum(prompt.weight for prompt in prompts)
    return tuple(Prompt(prompt.text, prompt.weight / total) for prompt in prompts)
