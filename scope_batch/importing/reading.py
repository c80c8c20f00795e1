"""What an export says, whichever of the two formats it came in. Times are seconds, as the exporting machine ran.

Values of an export: numbers, texts, prompts, blocks, LoRAs. What is malformed is told, not guessed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scope_batch.importing.notes import ImportNotes


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of the timeline and its prompts.

    place   where it stands in the export: "prompts[3]".
    prompts (text, weight); weights are relative to each other.
    transition_steps  chunks over which it fades in; None = not written.
    """

    place: str
    start_s: float
    end_s: float
    prompts: tuple[tuple[str, float], ...]
    transition_steps: int | None = None
    method: str | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it stands in the export."""

    place: str
    value: Any


@dataclass(frozen=True, slots=True)
class Lora:
    """merge_mode: "permanent_merge", "runtime_peft" or what else the export says. origin: a remark for people."""

    place: str
    path: str
    scale: float
    merge_mode: Setting | None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Export:
    """An export, as far as its values are well formed.

    title     "Scope timeline 2.1, exported 2026-02-01".
    settings  by their names in snake case, nulls left out.
    blocks    in the order of the export; empty: `prompts` are in force all the time.
    """

    title: str
    settings: Mapping[str, Setting]
    blocks: tuple[Block, ...]
    prompts: tuple[tuple[str, float], ...]
    loras: tuple[Lora, ...]


BLOCK_KEYS = frozenset(("start_time", "end_time", "prompts", "transition_steps", "temporal_interpolation_method"))
PROMPT_KEYS = frozenset(("text", "weight"))
LORA_KEYS = frozenset(("id", "path", "filename", "scale", "weight", "merge_mode", "provenance", "sha256"))

Prompts = tuple[tuple[str, float], ...]


def snake(name: str) -> str:
    """ "kvCacheAttentionBias" -> "kv_cache_attention_bias"."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), name)


def finite(value: Any) -> float | None:
    """A number, or None for anything else: NaN, a text, true."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def unicode_text(text: str) -> str:
    """Halves of surrogate pairs, which a cut text may end in, become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def maps_in(values: Any, place: str, told: ImportNotes) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, map) of every map in a list, keys in snake case, nulls left out."""
    if not isinstance(values, list):
        if values is not None:
            told.left_out(place, values, "not a list")
        return
    for index, value in enumerate(values):
        if isinstance(value, dict):
            yield f"{place}[{index}]", {snake(key): item for key, item in value.items() if item is not None}
        else:
            told.left_out(f"{place}[{index}]", value, "not a map")


def read_settings(values: Mapping[str, Any], place: str) -> dict[str, Setting]:
    return {snake(key): Setting(f"{place}.{key}", value) for key, value in values.items() if value is not None}


def read_blocks(values: Any, place: str, told: ImportNotes) -> tuple[Block, ...]:
    """Every block that has times and a prompt."""
    items = list(maps_in(values, place, told))
    told.unknown_keys((item for _, item in items), BLOCK_KEYS, f"{place}[]")
    return tuple(block for where, item in items if (block := _block(where, item, told)) is not None)


def _block(place: str, item: Mapping[str, Any], told: ImportNotes) -> Block | None:
    start, end = finite(item.get("start_time")), finite(item.get("end_time"))
    if start is None or end is None:
        times = [item.get("start_time"), item.get("end_time")]
        told.left_out(place, times, "its start and end must be seconds")
        return None
    prompts = read_prompts(item.get("prompts"), f"{place}.prompts", told)
    if not prompts:
        told.left_out(place, [start, end], "has no prompt")
        return None
    steps, method = _steps(item, place, told), item.get("temporal_interpolation_method")
    if method not in (None, "linear", "slerp"):
        told.left_out(f"{place}.temporalInterpolationMethod", method, "linear and slerp are known")
        method = None
    return Block(place, start, end, prompts, steps, method)


def _steps(item: Mapping[str, Any], place: str, told: ImportNotes) -> int | None:
    written = item.get("transition_steps")
    steps = finite(written)
    if written is not None and (steps is None or steps < 0 or steps != int(steps)):
        told.left_out(f"{place}.transitionSteps", written, "must be a whole number from 0 on")
        return None
    return None if steps is None else int(steps)


def read_prompts(values: Any, place: str, told: ImportNotes) -> Prompts:
    """Texts and weights; a prompt without a weight counts 100, as the export's own default does."""
    items = list(maps_in(values, place, told))
    told.unknown_keys((item for _, item in items), PROMPT_KEYS, f"{place}[]")
    prompts: list[tuple[str, float]] = []
    for where, item in items:
        text, weight = item.get("text"), finite(item.get("weight", 100))
        if not isinstance(text, str) or not text.strip():
            told.left_out(where, text, "its text must not be empty")
        elif weight is None or weight < 0:
            told.left_out(where, item.get("weight"), "its weight must be a number from 0 on")
        else:
            prompts.append((unicode_text(text), weight))
    if prompts and not any(weight for _, weight in prompts):
        told.assumed(place, "all weights are 0, the prompts share alike")
        return tuple((text, 1.0) for text, _ in prompts)
    return tuple(prompts)


def read_loras(values: Any, place: str, told: ImportNotes) -> tuple[Lora, ...]:
    items = list(maps_in(values, place, told))
    told.unknown_keys((item for _, item in items), LORA_KEYS, f"{place}[]")
    return tuple(lora for where, item in items if (lora := _lora(where, item, told)) is not None)


def _lora(place: str, item: Mapping[str, Any], told: ImportNotes) -> Lora | None:
    path, written = item.get("path", item.get("filename")), item.get("scale", item.get("weight", 1.0))
    scale = finite(written)
    if not isinstance(path, str) or not path.strip():
        told.left_out(place, path, "it names no file")
        return None
    if scale is None:
        told.left_out(f"{place} {path}", written, "its scale must be a number")
        return None
    mode = Setting(f"{place}.mergeMode", item["merge_mode"]) if "merge_mode" in item else None
    return Lora(place, unicode_text(path), scale, mode)
