"""The resolved job inside what it made: in a container's `comment`, in a PNG's text, beside an NPY or NUT file.

One JSON object on one line, in ASCII. Local paths are reduced to their last part before anything is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scope_batch import __version__
from scope_batch.errors import JobError, MissingInputError
from scope_batch.media.ffmpeg import LOCAL_FILES, QUIET, file_url, last_lines, run_quiet
from scope_batch.sinks.atomic import sidecar_path

SOURCE_TYPE = "trainedAlgorithmicMedia"
"""IPTC's digital source type of what a model has made."""
SIDECAR_FORMATS = ("npy", "nut")
"""Formats that carry no text, or (NUT) none of this length."""
PNG_KEY = "scope-batch"

PATH_FIELDS = frozenset(
    (
        *("input_path", "data_blob_path", "vace_frames", "vace_masks", "vace_ref_images", "first_frame_image"),
        *("last_frame_image", "input_video", "audio", "models", "output", "path", "pre_processor_output"),
    )
)
PATH_KEYED_FIELDS = frozenset({"lora_scales"})
_ESCAPED = "\\=;#\n"


def metadata_text(job: Mapping[str, Any]) -> str:
    """The document for a resolved job, as JSON values: what made the file, and from what."""
    document = {"digitalSourceType": SOURCE_TYPE, "generator": f"scope-batch {__version__}", "job": without_paths(job)}
    return json.dumps(document)


def without_paths(value: Any, field: str = "") -> Any:
    """The job's JSON values with every local path reduced to its last part.

    Files of one name in two folders stay apart where they are keys: `a.safetensors`, `a.safetensors (2)`.
    """
    if isinstance(value, Mapping):
        if field not in PATH_KEYED_FIELDS:
            return {key: without_paths(item, key) for key, item in value.items()}
        named: dict[str, Any] = {}
        for path, item in value.items():
            named[_free_name(_last_part(path), named)] = item
        return named
    if isinstance(value, list | tuple):
        return [without_paths(item, field) for item in value]
    return _last_part(value) if field in PATH_FIELDS and isinstance(value, str) else value


def read_metadata(path: Path) -> dict[str, Any]:
    """The document in a file of ours: {digitalSourceType, generator, job}.

    Raises MissingInputError if there is no such file, JobError if it cannot be read or carries none.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file")
    try:
        document = json.loads(_read_text(path))
    except ValueError:
        document = None
    if not isinstance(document, dict) or "job" not in document:
        raise JobError(f"{path}: carries no scope-batch job")
    return document


def ffmetadata(text: str) -> str:
    """An ffmetadata file whose `comment` is `text`; a command line would be too short for it."""
    escaped = "".join(f"\\{character}" if character in _ESCAPED else character for character in text)
    return f";FFMETADATA1\ncomment={escaped}\n"


def _read_text(path: Path) -> str:
    form = path.suffix[1:].lower()
    if form in SIDECAR_FORMATS:
        sidecar = sidecar_path(path)
        return sidecar.read_text(encoding="utf-8") if sidecar.is_file() else ""
    return _read_png(path) if form == "png" else _read_container(path)


def _read_png(path: Path) -> str:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return str(image.info.get(PNG_KEY, ""))
    except (UnidentifiedImageError, OSError) as error:
        raise JobError(f"{path}: is not a readable PNG: {error}") from error


def _read_container(path: Path) -> str:
    done = run_quiet([*QUIET, *LOCAL_FILES, "-i", file_url(path), "-f", "ffmetadata", "-"])
    if done.returncode:
        raise JobError(f"{path}: is not a readable video: {last_lines(done.stderr)}")
    for line in done.stdout.splitlines():
        key, _, value = line.partition("=")
        if key.lower() == "comment":
            return _unescape(value)
    return ""


def _unescape(value: str) -> str:
    characters = iter(value)
    return "".join(next(characters, "") if character == "\\" else character for character in characters)


def _last_part(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2] or path


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    count = 1
    free = name
    while free in taken:
        count += 1
        free = f"{name} ({count})"
    return free
