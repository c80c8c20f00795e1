"""Represents the result of one check of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["ok", "warn", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One result. `subject`: the part that was checked. `text`: one line. `advice`: the remedy, "" if none is needed.

    state   fault: a render that needs the part fails; warn: it works slowly or partly.
    values  the figures in `text`, for programs; bytes, MB/s, versions by name.
    """

    subject: str
    state: State
    text: str
    advice: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:160] if lines else type(error).__name__
