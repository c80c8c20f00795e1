"""Reads and checks values of options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from scope_batch.errors import UsageError
from scope_batch.files.urls import is_url

if TYPE_CHECKING:
    from scope_batch.cli.arguments import Progress
    from scope_batch.progress import Style

_DURATION = re.compile(r"(?:(?P<h>\d{1,6})h)?(?:(?P<m>\d{1,6})m(?:in)?)?(?:(?P<s>\d{1,9}(?:\.\d{1,6})?)s?)?", re.ASCII)


def parse_duration(text: str) -> float:
    """Convert 90, 90s, 10m or 1h30m to seconds. Raises BadParameter for anything else and for 0 seconds."""
    match = _DURATION.fullmatch("".join(text.split()).lower())
    hours, minutes, seconds = match.group("h", "m", "s") if match else (None, None, None)
    total = int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds or 0)
    if not total > 0:
        raise typer.BadParameter(f"{text!r} is not a time of more than 0 seconds, such as 90s, 10m or 1h30m")
    return total


def parse_local_path(text: str) -> Path:
    """Return the path of a file or folder on this machine. Raises BadParameter for a URL."""
    if is_url(text):
        raise typer.BadParameter(f"{text!r} is a URL; a path on this machine is needed")
    return Path(text)


def parse_bytes(text: str) -> int:
    """Convert 500MB, 64GB or 64GiB to bytes. Raises BadParameter for anything else and for 0 bytes."""
    from pydantic import ByteSize, TypeAdapter, ValidationError  # not for --help

    try:
        size = int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        size = 0
    if size <= 0:
        raise typer.BadParameter(f"{text!r} is not a size of more than 0 bytes, such as 500MB or 64GB")
    return size


def refuse_both(first: str, first_set: bool, second: str, second_set: bool) -> None:
    """Raise UsageError if both options are set."""
    if first_set and second_set:
        raise UsageError(f"{first} and {second} contradict each other")


def chosen_style(progress: Progress, *, quiet: bool, verbose: bool) -> Style:
    """Return how progress is shown. Raises UsageError if -q contradicts another option."""
    refuse_both("-q", quiet, "-v", verbose)
    refuse_both("-q", quiet, f"--progress {progress}", progress not in ("auto", "none"))
    return "none" if quiet else progress.value


def check_device(device: str) -> None:
    """Raise UsageError unless it is auto, cpu, cuda or cuda:N."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UsageError(f"--device {device}: not known; allowed: auto, cpu, cuda, cuda:N")
