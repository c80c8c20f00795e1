"""Reads the parts that both formats of an export share: prompts, blocks of the timeline, settings, LoRAs.

Times are in seconds. A malformed value is left out and noted; no value is guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scope_batch.importing.notes import ImportNotes

BLOCK_KEYS = frozenset(("start_time", "end_time", "prompts", "transition_steps", "temporal_interpolation_method"))
PROMPT_KEYS = frozenset(("text", "weight"))
LORA_KEYS = frozenset(("id", "path", "filename", "scale", "weight", "merge_mode", "provenance", "sha256"))

Prompts = tuple[tuple[str, float], ...]
"""(text, weight) pairs; weights are relative to each other."""


@dataclass(frozen=True, slots=True)
class Block:
    """An interval of the timeline and its prompts.

    place             path in the export: "prompts[3]".
    transition_steps  chunks over which the block fades in; None: absent.
    method            of the transition: "linear", "slerp", or None: absent.
    """

    place: str
    start_s: float
    end_s: float
    prompts: Prompts
    transition_steps: int | None = None
    method: str | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and its path in the export."""

    place: str
    value: Any


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA. merge_mode: "permanent_merge", "runtime_peft" or any other value of the export."""

    place: str
    path: str
    scale: float
    merge_mode: Setting | None


@dataclass(frozen=True, slots=True)
class Export:
    """The well-formed values of an export.

    title     "Scope timeline 2.1, exported 2026-02-01".
    settings  by name in snake case; the value None means absent.
    blocks    in the order of the export; if empty, `prompts` are those of the whole job.
    """

    title: str
    settings: Mapping[str, Setting]
    blocks: tuple[Block, ...]
    prompts: Prompts
    loras: tuple[Lora, ...]


def snake(name: str) -> str:
    """Convert "kvCacheAttentionBias" to "kv_cache_attention_bias"."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), name)


def finite(value: Any) -> float | None:
    """Return the value as a float; None for NaN, infinity and anything that is not a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def unicode_text(text: str) -> str:
    """Replace lone surrogates, with which a truncated text may end, by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def read_maps(values: Any, place: str, known: frozenset[str], notes: ImportNotes) -> list[tuple[str, dict[str, Any]]]:
    """Return (place, map) of every map in a list: keys in snake case, no nulls. Keys not in `known` are noted."""
    if values is not None and not isinstance(values, list):
        notes.left_out(place, values, "not a list")
    maps: list[tuple[str, dict[str, Any]]] = []
    for index, value in enumerate(values if isinstance(values, list) else ()):
        if isinstance(value, dict):
            maps.append((f"{place}[{index}]", {snake(key): item for key, item in value.items()}))
        else:
            notes.left_out(f"{place}[{index}]", value, "not a map")
    notes.unknown_keys((item for _, item in maps), known, f"{place}[]")
    return [(path, {key: value for key, value in item.items() if value is not None}) for path, item in maps]


def read_settings(values: Mapping[str, Any], place: str) -> dict[str, Setting]:
    return {snake(key): Setting(f"{place}.{key}", value) for key, value in values.items()}


def merged(settings: Mapping[str, Setting], overrides: Mapping[str, Setting]) -> dict[str, Setting]:
    """Return the settings with the overrides applied; a null override replaces nothing."""
    effective = {key: setting for key, setting in overrides.items() if setting.value is not None or key not in settings}
    return {**settings, **effective}


def read_blocks(values: Any, place: str, notes: ImportNotes) -> tuple[Block, ...]:
    """Read every block that has times and a prompt."""
    items = read_maps(values, place, BLOCK_KEYS, notes)
    return tuple(block for path, item in items if (block := _block(path, item, notes)) is not None)


def _block(place: str, item: Mapping[str, Any], notes: ImportNotes) -> Block | None:
    start, end = finite(item.get("start_time")), finite(item.get("end_time"))
    if start is None or end is None:
        times = [item.get("start_time"), item.get("end_time")]
        notes.left_out(place, times, "its start and end must be seconds")
        return None
    prompts = read_prompts(item.get("prompts"), f"{place}.prompts", notes)
    if not prompts:
        notes.left_out(place, [start, end], "has no prompt")
        return None
    steps, method = _transition_steps(item, place, notes), item.get("temporal_interpolation_method")
    if method not in (None, "linear", "slerp"):
        notes.left_out(f"{place}.temporalInterpolationMethod", method, "must be linear or slerp")
        method = None
    return Block(place, start, end, prompts, steps, method)


def _transition_steps(item: Mapping[str, Any], place: str, notes: ImportNotes) -> int | None:
    value = item.get("transition_steps")
    steps = finite(value)
    if value is not None and (steps is None or steps < 0 or steps != int(steps)):
        notes.left_out(f"{place}.transitionSteps", value, "must be a whole number, 0 or more")
        return None
    return None if steps is None else int(steps)


def read_prompts(values: Any, place: str, notes: ImportNotes) -> Prompts:
    """Read texts and weights; the default weight is 100, as in Scope."""
    prompts: list[tuple[str, float]] = []
    for path, item in read_maps(values, place, PROMPT_KEYS, notes):
        text, weight = item.get("text"), finite(item.get("weight", 100))
        if not isinstance(text, str) or not text.strip():
            notes.left_out(path, text, "its text must not be empty")
        elif weight is None or weight < 0:
            notes.left_out(path, item.get("weight"), "its weight must be a number, 0 or more")
        else:
            prompts.append((unicode_text(text), weight))
    if prompts and not any(weight for _, weight in prompts):
        notes.assumed(place, "all weights are 0, so the prompts get equal weights")
        return tuple((text, 1.0) for text, _ in prompts)
    return tuple(prompts)


def read_loras(values: Any, place: str, notes: ImportNotes) -> tuple[Lora, ...]:
    items = read_maps(values, place, LORA_KEYS, notes)
    return tuple(lora for path, item in items if (lora := _lora(path, item, notes)) is not None)


def _lora(place: str, item: Mapping[str, Any], notes: ImportNotes) -> Lora | None:
    path, value = item.get("path", item.get("filename")), item.get("scale", item.get("weight", 1.0))
    scale = finite(value)
    if not isinstance(path, str) or not path.strip():
        notes.left_out(place, path, "it has no file name")
        return None
    if scale is None:
        notes.left_out(f"{place} {path}", value, "its scale must be a number")
        return None
    mode = Setting(f"{place}.mergeMode", item["merge_mode"]) if "merge_mode" in item else None
    return Lora(place, unicode_text(path), scale, mode)
