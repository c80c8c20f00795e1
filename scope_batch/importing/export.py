"""What an export says, whichever of the two formats it came in. Times are seconds, as the exporting machine ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
