"""The resolved job inside what it made: in a container's `comment`, in a PNG's text, beside an NPY or NUT file.

One JSON object on one line, in ASCII, without local paths.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from scope_batch import __version__
from scope_batch.errors import JobError, MissingInputError
from scope_batch.files.access import is_file
from scope_batch.files.kinds import START_BYTES, stand_in
from scope_batch.media.clip import DEMUXERS
from scope_batch.media.ffmpeg import DECODER_LIMITS, LOCAL_FILES, QUIET, file_url, last_lines, run_quiet
from scope_batch.sinks.output import has_sidecar, sidecar_path

SOURCE_TYPE = "trainedAlgorithmicMedia"
"""IPTC's digital source type of what a model has made."""
PNG_KEY = "scope-batch"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_ESCAPED = "\\=;#\n"


def metadata_text(
    job: Mapping[str, Any],
    inputs: Mapping[str, str] = MappingProxyType({}),
    job_sha256: str | None = None,
    plugins: Sequence[str] = (),
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """The document: what made the file, and from what.

    job     the job's JSON values without local paths (`Job.to_public_dict`).
    inputs  field -> sha256 of the file it names.
    job_sha256  of the job with all its values, which tells jobs apart whose public values are alike.
    plugins     packages whose pipelines and processors took part, "scope-batch-example 0.1.0".
    defaults    values that the job left to their defaults.
    """
    document = {"digitalSourceType": SOURCE_TYPE, "generator": f"scope-batch {__version__}", "job": dict(job)}
    document |= {"job_sha256": job_sha256} if job_sha256 else {}
    document |= {"defaults": dict(defaults)} if defaults else {}
    document |= {"plugins": list(plugins)} if plugins else {}
    return json.dumps(document | ({"inputs_sha256": dict(inputs)} if inputs else {}))


def read_metadata(path: Path) -> dict[str, Any]:
    """The document in a file of ours: {digitalSourceType, generator, job}.

    Raises MissingInputError if there is no such file, JobError if it cannot be read or carries none.
    """
    if not is_file(path):
        raise MissingInputError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            what = stand_in(file.read(START_BYTES))
    except OSError as error:
        raise JobError(f"{path}: cannot be read: {error.strerror or error}") from error
    if what:
        raise JobError(f"{path}: is {what}")
    try:
        document = json.loads(_read_text(path))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or "job" not in document:
        raise JobError(f"{path}: carries no scope-batch job")
    return document


def read_carried_job(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The job in a file of ours, and the values that it left to their defaults; together they are the whole job.

    Raises as `read_metadata`.
    """
    document = read_metadata(path)
    job, defaults = document["job"], document.get("defaults", {})
    if not isinstance(job, dict) or not isinstance(defaults, dict):
        raise JobError(f"{path}: carries no scope-batch job")
    return job, {name: value for name, value in defaults.items() if name not in job}


def is_own_picture(path: Path) -> bool:
    """Whether a render made this PNG: it carries our text, with or without a job. Nothing is decoded."""
    mark = PNG_KEY.encode() + b"\0"
    if not is_file(path):
        return False
    try:
        with path.open("rb") as file:
            if file.read(len(_PNG_SIGNATURE)) != _PNG_SIGNATURE:
                return False
            while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
                text = file.read(len(mark)) if head[4:] == b"iTXt" else b""
                if text == mark:
                    return True
                file.seek(int.from_bytes(head[:4], "big") + 4 - len(text), os.SEEK_CUR)
    except OSError:
        pass
    return False


def ffmetadata(text: str) -> str:
    """An ffmetadata file whose `comment` is `text`; a command line would be too short for it."""
    escaped = "".join(f"\\{character}" if character in _ESCAPED else character for character in text)
    return f";FFMETADATA1\ncomment={escaped}\n"


def _read_text(path: Path) -> str:
    form = path.suffix[1:].lower()
    if has_sidecar(path):
        sidecar = sidecar_path(path)
        return sidecar.read_text(encoding="utf-8") if sidecar.is_file() else ""
    return _read_png(path) if form == "png" else _read_container(path)


def _read_png(path: Path) -> str:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # nothing is decoded
            with Image.open(path, formats=["PNG"]) as image:
                return str(image.info.get(PNG_KEY, ""))
    except Image.DecompressionBombError as error:
        raise JobError(f"{path}: has too many pixels: {error}") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise JobError(f"{path}: is not a readable PNG: {error}") from error


def _read_container(path: Path) -> str:
    whitelist = ["-format_whitelist", DEMUXERS]
    done = run_quiet([*QUIET, *DECODER_LIMITS, *LOCAL_FILES, *whitelist, "-i", file_url(path), "-f", "ffmetadata", "-"])
    if done.returncode:
        why = f"not a readable video: {last_lines(done.stderr)}" if path.stat().st_size else "empty"
        raise JobError(f"{path}: is {why}")
    for line in done.stdout.splitlines():
        key, _, value = line.partition("=")
        if key.lower() == "comment":
            return _unescape(value)
    return ""


def _unescape(value: str) -> str:
    characters = iter(value)
    return "".join(next(characters, "") if character == "\\" else character for character in characters)
