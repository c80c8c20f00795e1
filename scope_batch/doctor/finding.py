"""Represents the result of one check of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["ok", "warn", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`subject`: what was looked at, one of few words. `text`: one line. `advice`: what to do, "" when nothing.

    state   fault: a render that needs it fails; warn: it works, but not as well as it could, or not everything does.
    values  the figures in `text`, for programs; bytes, MB/s, versions by name.
    """

    subject: str
    state: State
    text: str
    advice: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


def first_line(error: BaseException) -> str:
    """The message of an exception, cut to a short line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:160] if lines else type(error).__name__
