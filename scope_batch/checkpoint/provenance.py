"""Describes everything that the chunks of a render are made from, as texts that two renders can be compared by.

A chunk is made from the engine, the machine, and the inputs of this chunk and of all before it. So the first chunk
whose texts differ from those of an earlier render is the first one that has to be made anew.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path, PurePath

from scope_batch.core.canonical import canonical
from scope_batch.core.plan import Chunk, Plan
from scope_batch.core.timeline import Kind

Texts = Mapping[str, str]
"""Field -> its value as canonical text."""

MOST_NAMED = 3
"""At most so many differences are named in a message."""
_SHOWN_CHARACTERS = 60
_SHOWN_BEFORE = 20
"""So many characters of a long value are shown before the first one that differs."""
_SHOWN_DIGITS = 12
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PROMPT = re.compile(r'Prompt\(text=("(?:[^"\\]|\\.)*")')
_ASKED_FOR = ("conditioning", "seed", "noise_scale", "denoising_steps", "lora_scales", "vace", "attention_bias", "mode")
"""The fields of a chunk that a job sets; in a list of differences they come first, what follows from them last."""
_CHUNK_FIELDS = (*_ASKED_FOR, *(field.name for field in fields(Chunk) if field.name not in ("index", *_ASKED_FOR)))


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that two renders differ in; None: it is not there. chunk: None for the render as a whole."""

    chunk: int | None
    field: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        where = "" if self.chunk is None else f"chunk {self.chunk}: "
        field, old, new = self.field, _for_people(self.old), _for_people(self.new)
        prompts = _prompts(self.old), _prompts(self.new)
        if field == "conditioning" and prompts[0] != prompts[1]:  # else a weight or a transition changed
            field, (old, new) = "prompt", prompts
        pairs = enumerate(zip(old, new, strict=False))
        same = next((index for index, pair in pairs if pair[0] != pair[1]), min(len(old), len(new)))
        return f"{where}{field}: {_excerpt(old, same)} -> {_excerpt(new, same)}"


@dataclass(frozen=True, slots=True)
class Provenance:
    """engine: model, size and settings. environment: machine and packages. chunks: one per chunk, in order."""

    engine: Texts
    environment: Texts
    chunks: tuple[Texts, ...]


def differences(old: Texts, new: Texts, chunk: int | None = None) -> list[Difference]:
    """In the order of the new fields; those that are gone come last."""
    names = [*new, *(name for name in old if name not in new)]
    return [Difference(chunk, name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]


def listed(changed: Sequence[Difference]) -> str:
    """Name the first differences, and say how many more there are."""
    more = f"; and {len(changed) - MOST_NAMED} more" if len(changed) > MOST_NAMED else ""
    return "; ".join(map(str, changed[:MOST_NAMED])) + more


def chunk_inputs(plan: Plan, digest: Callable[[Path], str], *, vace_module: str | None = None) -> tuple[Texts, ...]:
    """What each chunk is made from besides the engine.

    digest       the sha256 of a file or folder that the plan names: files count by content, not by name.
    vace_module  the sha256 of the module that chunks with VACE need.
    """

    def path_text(path: PurePath) -> str:
        return digest(Path(path))

    texts = [{name: canonical(getattr(chunk, name), path_text) for name in _CHUNK_FIELDS} for chunk in plan.chunks]
    first_frames = [chunk.first_frame for chunk in plan.chunks]
    for placement in plan.placements:
        kind = placement.source.kind
        for chunk in plan.chunks[max(bisect_right(first_frames, placement.first_frame) - 2, 0) :]:
            end = chunk.first_frame + chunk.frames
            # Where input video does not reach, the nearest frame is read.
            beyond = chunk.frames if kind == "video" else 0
            if placement.end_frame <= chunk.first_frame - chunk.lead - beyond:
                break
            if _uses(chunk, kind) and placement.first_frame < end + beyond:
                seen = replace(placement, where="", end_frame=min(placement.end_frame, end))
                texts[chunk.index][kind] = texts[chunk.index].get(kind, "") + canonical(seen, path_text)
    for chunk in plan.chunks:
        if chunk.vace is not None and vace_module is not None:
            texts[chunk.index]["vace_module"] = vace_module
    return tuple(texts)


def _uses(chunk: Chunk, kind: Kind) -> bool:
    return chunk.mode == "video" if kind == "video" else chunk.vace is not None and chunk.vace.timeline


def _prompts(text: str | None) -> str:
    """The prompts in the canonical text of a conditioning, in quotation marks."""
    return " + ".join(_PROMPT.findall(text or ""))


def _for_people(text: str | None) -> str:
    if text is None:
        return "nothing"
    plain = str(json.loads(text)) if text.startswith('"') and text.endswith('"') else text
    if _SHA256.fullmatch(plain):
        return f"{plain[:_SHOWN_DIGITS]}..."
    return re.sub(r"-?\b\d+/\d+\b", lambda ratio: f"{float(Fraction(ratio[0])):g}", plain)


def _excerpt(text: str, same: int) -> str:
    """The text, or of a long one the part behind its first `same` characters, which two texts have in common."""
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    start = max(same - _SHOWN_BEFORE, 0)
    end = start + _SHOWN_CHARACTERS - 3
    return f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}"
