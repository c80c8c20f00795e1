"""Parses single values of a job that have more than one spelling: rates, times, frame counts, paths."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, PlainSerializer, PlainValidator

from scope_batch.files.urls import checked_url, copy_path, is_url, url_of
from scope_batch.job.faults import shown, wrong

Found = TypeVar("Found")
_CLOCK = re.compile(r"(?:(\d{1,4}):(?=[0-5]?\d:))?(\d{1,6}):([0-5]?\d(?:\.\d{1,9})?)")
_RATE = re.compile(r"\d{1,10}(\.\d{1,9}|/\d{1,10})?")
_DRIVE = re.compile(r"(?:^|/)([A-Za-z]):[\\/]+")
_MAX_RATE = 1000
MAX_FRAMES = 10_000_000
"""The plan holds every chunk in memory; a larger number is probably a typing error."""
_MAX_TERM = 2**31 - 1  # containers and encoders hold a rate as two 32-bit integers


def parse_rate(value: Any) -> Fraction:
    """Parse frames per second: 25, 29.97 or "30000/1001"."""
    allowed = f'must be frames per second, such as 16, 29.97 or "30000/1001", not {shown(value)}'
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Fraction)):
        raise wrong(allowed)
    if isinstance(value, str) and not _RATE.fullmatch(value):
        raise wrong(allowed)
    out_of_range = f"must be more than 0 and at most {_MAX_RATE} frames per second, not {shown(value)}"
    if not isinstance(value, str) and not 0 < value <= _MAX_RATE:
        raise wrong(out_of_range)
    try:
        rate = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise wrong(allowed) from None
    if not 0 < rate <= _MAX_RATE or max(rate.numerator, rate.denominator) > _MAX_TERM:
        raise wrong(out_of_range)
    return rate


def parse_input_rate(value: Any) -> Fraction | Literal["native"]:
    return "native" if value == "native" else parse_rate(value)


def parse_control_rate(value: Any) -> Fraction | Literal["native", "input"]:
    return "input" if value == "input" else parse_input_rate(value)


def parse_seconds(value: Any) -> float:
    """Parse seconds >= 0: 3.75 or "MM:SS.mmm" (also "HH:MM:SS.mmm")."""
    if isinstance(value, str) and (clock := _CLOCK.fullmatch(value)):
        hours, minutes, seconds = clock.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong(f'must be seconds or "MM:SS.mmm", not {shown(value)}')
    if not 0 <= value <= sys.float_info.max:
        raise wrong(f"must be seconds from 0 on, not {shown(value)}")
    return float(value)


def parse_num_frames(value: Any) -> int | Literal["input"]:
    if value == "input":
        return "input"
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(f"must be a whole number of frames or the word input, not {shown(value)}")
    if value < 1:
        raise wrong(f"must be at least 1, not {value}")
    if value > MAX_FRAMES:
        raise wrong(f"must be at most {MAX_FRAMES} (a week of video), not {shown(value)}")
    return value


def checked_path(value: Any) -> str:
    """Return the path as text. Raises for an empty value, no text, control characters and Windows drives."""
    if not isinstance(value, (str, Path)):
        raise wrong(f"must be a path, not {shown(value)}")
    text = str(value)
    if not text.strip():
        raise wrong("must be a path, not empty")
    if "\0" in text:
        raise wrong("must be a path without NUL bytes")
    if not text.isprintable() and any(unicodedata.category(character) == "Cc" for character in text):
        raise wrong(
            "holds a line break, a tab or the like: in double quotes \\ begins an escape; write a path with / or in "
            "single quotes"
        )
    if os.name != "nt" and (drive := _DRIVE.search(text)):
        wsl_path = f"/mnt/{drive[1].lower()}/{text[drive.end() :]}".replace("\\", "/")
        raise wrong(f"is a Windows path, which this machine does not have (under WSL it is {wsl_path})")
    return text


def expand_home(text: str) -> str:
    """Expand `~` and `~user`. Raises for an unknown user."""
    try:
        return str(Path(text).expanduser()) if text.startswith("~") else text
    except RuntimeError:
        raise wrong(f"unknown user: {shown(text)}") from None


def parse_input_path(value: Any) -> Path:
    """Return the absolute path; for a URL, that of its local copy, which need not be there yet."""
    text = checked_path(value)
    return _unless_wrong(copy_path, text) if is_url(text) else Path(expand_home(text)).absolute()


def written_path(path: Path | str) -> str:
    """Return a path as text; the local copy of a URL as the URL."""
    return (url_of(path) if isinstance(path, Path) else None) or str(path)


def _unless_wrong(function: Callable[[str], Found], text: str) -> Found:
    try:
        return function(text)
    except ValueError as error:
        raise wrong(str(error)) from None


def parse_output_path(value: Any) -> str:
    text = expand_home(checked_path(value))
    if is_url(text):
        return _unless_wrong(checked_url, text)
    if os.name != "nt" and "\\" in text:
        raise wrong(f"\\ does not separate folders on this machine: write {text.replace(chr(92), '/')}")
    return text


def parse_audio(value: Any) -> Path | Literal["none", "input"]:
    if value == "none" or value == "input":
        return "none" if value == "none" else "input"
    return parse_input_path(value)


def parse_models(value: Any) -> Path | Literal["tiny", "random"]:
    if value == "tiny" or value == "random":
        return "tiny" if value == "tiny" else "random"
    return parse_input_path(value)


Rate = Annotated[Fraction, PlainValidator(parse_rate, json_schema_input_type=float | str), PlainSerializer(str)]
InputRate = Annotated[
    Fraction | Literal["native"],
    PlainValidator(parse_input_rate, json_schema_input_type=float | str),
    PlainSerializer(str),
]
ControlRate = Annotated[
    Fraction | Literal["native", "input"],
    PlainValidator(parse_control_rate, json_schema_input_type=float | str),
    PlainSerializer(str),
]
Seconds = Annotated[float, PlainValidator(parse_seconds, json_schema_input_type=float | str)]
NumFrames = Annotated[
    int | Literal["input"],
    PlainValidator(
        parse_num_frames, json_schema_input_type=Annotated[int, Field(ge=1, le=MAX_FRAMES)] | Literal["input"]
    ),
]
InputPath = Annotated[Path, PlainValidator(parse_input_path, json_schema_input_type=str), PlainSerializer(written_path)]
OutputPath = Annotated[str, PlainValidator(parse_output_path, json_schema_input_type=str)]
Audio = Annotated[
    Path | Literal["none", "input"],
    PlainValidator(parse_audio, json_schema_input_type=str),
    PlainSerializer(written_path),
]
Models = Annotated[
    Path | Literal["tiny", "random"],
    PlainValidator(parse_models, json_schema_input_type=str),
    PlainSerializer(written_path),
]
