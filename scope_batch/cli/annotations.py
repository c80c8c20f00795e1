"""Repeats errors in the form that GitHub Actions shows beside the lines of a file: `::error file=job.yaml,line=3::`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

_AT_LINE = re.compile(r"(?P<file>[^:\s][^:]*):(?P<line>\d+):(?P<col>\d+): (?P<message>.*)", re.DOTALL)


def annotation(line: str, environment: Mapping[str, str] = os.environ, *, file: str = "") -> str | None:
    """Return the command for an error line, None outside GitHub Actions.

    file  the file that an error is about which names no line itself.
    """
    if environment.get("GITHUB_ACTIONS") != "true":
        return None
    found = _AT_LINE.fullmatch(line)
    places = {"file": file} if found is None else {name: found[name] for name in ("file", "line", "col")}
    told = ",".join(f"{name}={_property(value)}" for name, value in places.items() if value)
    return f"::error{' ' if told else ''}{told}::{_data(line if found is None else found['message'])}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
