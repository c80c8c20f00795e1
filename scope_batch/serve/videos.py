"""Speaks of jobs in the shape of OpenAI's video API: requests become job files, jobs become video objects."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from scope_batch.errors import JobError
from scope_batch.files.image_series import IMAGE_SUFFIXES
from scope_batch.job import Job
from scope_batch.job.faults import shown
from scope_batch.job.scalars import parse_rate
from scope_batch.job.schema import DEFAULT_FPS
from scope_batch.jobs.records import JobRecord
from scope_batch.media.clip import VIDEO_SUFFIXES
from scope_batch.media.images import IMAGE_FORMATS, MULTI_PICTURE_JPEG
from scope_batch.media.validate import probe_clip
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.serve.job_events import first_prompt, public_error
from scope_batch.serve.requests import public_text
from scope_batch.serve.submissions import Submission
from scope_batch.serve.uploads import Uploads

PREFIX = "video_"
"""Begins the id of a video; the id of its job follows."""
_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})", re.ASCII)
_SECONDS = re.compile(r"\d{1,9}(\.\d{1,20})?", re.ASCII)
"""A length in seconds: any float is written so, save for the very large and the very small ones."""
_STATUS = {
    "queued": "queued", "interrupted": "queued", "running": "in_progress", "done": "completed", "failed": "failed",
    "cancelled": "failed",
}  # fmt: skip
OWN_FIELDS = frozenset(("model", "size", "seconds", "input_reference", "extra_body"))
"""Fields of a request that are no fields of a job."""


def video_object(record: JobRecord, keep_s: float, started: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a job as a video object.

    keep_s   so long it is kept after its end.
    started  its event of that kind, if there is one; it tells the size and rate that a clip gives to a job.
    """
    fields = {**json.loads(record.request), **(started or {})}
    spec = KNOWN_PIPELINES.get(fields["pipeline_id"])
    planned = fields.get("num_frames", Job.model_fields["num_frames"].default)
    frames = record.progress.num_frames or (planned if isinstance(planned, int) else 0)
    done = record.state == "done"
    prompt = fields.get("prompt")
    return {
        "id": PREFIX + record.id,
        "object": "video",
        "status": _STATUS[record.state],
        "progress": 100 if done else min(99, record.progress.frames_done * 100 // max(frames, 1)),
        "model": spec.id,
        "prompt": prompt if isinstance(prompt, str) else first_prompt(record),
        "size": f"{fields.get('width', spec.width)}x{fields.get('height', spec.height)}",
        "seconds": f"{float(frames / _rate(fields)):g}",
        "created_at": int(record.submitted_s),
        "completed_at": int(record.finished_s) if done and record.finished_s is not None else None,
        "expires_at": None if record.finished_s is None else int(record.finished_s + keep_s),
        "remixed_from_video_id": None,
        "error": _error(record),
    }


def job_of_video(text: str) -> str:
    """Return the id of the job of a video; a text that is none stays as it is, and names no job."""
    return text.removeprefix(PREFIX)


def submission_of(body: Mapping[str, Any], uploads: Uploads) -> Submission:
    """Return the job of a request. Raises JobError with a line per fault.

    body  `prompt`, `model`, `size`, `seconds`, `input_reference` (the handle of an uploaded file, as a text or under
          "file_id"), and any field of a job, also under `extra_body`.
    """
    fields = {**body}
    for name, value in _map(fields.pop("extra_body", None), "extra_body").items():
        _set(fields, name, value, "extra_body")
    problems: list[str] = []
    for translate in (_take_model, _take_size):
        try:
            translate(fields)
        except JobError as error:
            problems += error.problems
    if problems:
        raise JobError(*problems)
    files: dict[str, str] = {}
    if (reference := fields.pop("input_reference", None)) is not None:
        handle = reference.get("file_id") if isinstance(reference, dict) else reference
        if not isinstance(handle, str):
            raise JobError("input_reference: must be a file, or the handle of an upload to /api/v1/files")
        name = _take_reference(fields, _path_of(handle, uploads), uploads)
        files[name] = handle
    _take_seconds(fields)
    return Submission(job=fields, files=files)


def _set(fields: dict[str, Any], name: str, value: Any, source: str) -> None:
    if name in fields and fields[name] != value:
        raise JobError(f"{source}: {name} is given as {shown(str(fields[name]))} and as {shown(str(value))}")
    fields[name] = value


def _take_model(fields: dict[str, Any]) -> None:
    model = fields.pop("model", None)
    if model is None:
        return
    if model not in KNOWN_PIPELINES.ids():
        raise JobError(f"model: {shown(str(model))} is not known; allowed: {', '.join(KNOWN_PIPELINES.ids())}")
    _set(fields, "pipeline_id", model, "model")


def _take_size(fields: dict[str, Any]) -> None:
    size = fields.pop("size", None)
    if size is None:
        return
    match = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if match is None:
        raise JobError(f"size: {shown(str(size))} is not WIDTHxHEIGHT, such as 832x480")
    _set(fields, "width", int(match[1]), "size")
    _set(fields, "height", int(match[2]), "size")


def _take_seconds(fields: dict[str, Any]) -> None:
    seconds = fields.pop("seconds", None)
    if seconds is None:
        return
    if "num_frames" in fields:
        raise JobError("seconds: num_frames is given, too; leave one of them out")
    if "input_path" in fields and "fps" not in fields:
        raise JobError("seconds: needs fps beside it, where the input is a name; or give num_frames")
    match = _SECONDS.fullmatch(str(seconds))
    frames = round(Fraction(match[0]) * _rate(fields)) if match else 0
    if frames < 1:
        raise JobError(f"seconds: {shown(str(seconds))} is no length of a video, such as 4 or 2.5")
    fields["num_frames"] = frames


def _rate(fields: Mapping[str, Any]) -> Fraction:
    """Return the frames per second; a rate that is none counts as the default, and the job is refused for it."""
    try:
        return parse_rate(fields.get("fps", DEFAULT_FPS))
    except ValueError:
        return DEFAULT_FPS


def _take_reference(fields: dict[str, Any], path: Path, uploads: Uploads) -> str:
    """Let a picture be the first frame, and a video the input. Returns the name of the file in the job."""
    suffix = _picture_suffix(path)
    if suffix is None:
        name = f"reference{VIDEO_SUFFIXES[0]}"
        _set(fields, "input_path", name, "input_reference")
        place = uploads.sets.create({name: path})
        try:
            fields.setdefault("fps", str(probe_clip(place / name).fps))
        except JobError as error:
            raise JobError(*(f"input_reference: {public_text(line, {})}" for line in error.problems)) from None
        finally:
            uploads.sets.remove(place)
        return name
    name = f"reference{suffix}"
    specs = fields.get("chunk_specs", [])
    specs = [*specs] if isinstance(specs, list) else []
    first = next((entry for entry in specs if isinstance(entry, dict) and entry.get("chunk") == 0), None)
    if first is None:
        fields["chunk_specs"] = [{"chunk": 0, "first_frame_image": name}, *specs]
    else:
        entry = {**first}
        _set(entry, "first_frame_image", name, "input_reference")
        fields["chunk_specs"] = [entry if spec is first else spec for spec in specs]
    return name


def _picture_suffix(path: Path) -> str | None:
    """Return the extension for a still picture, None for anything else."""
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            kind = "JPEG" if image.format == MULTI_PICTURE_JPEG else str(image.format)
            is_still = image.format == MULTI_PICTURE_JPEG or not getattr(image, "is_animated", False)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        return None
    suffix = f".{kind.lower()}"
    return suffix if is_still and suffix in IMAGE_SUFFIXES else None


def _path_of(handle: str, uploads: Uploads) -> Path:
    try:
        return uploads.path_of(handle, "file")
    except JobError as error:
        raise JobError(f"input_reference: {shown(handle)} {error}") from None


def _map(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise JobError(f"{name}: must be a map of fields")
    return value


def _error(record: JobRecord) -> dict[str, Any] | None:
    if record.state == "cancelled":
        return {"code": "cancelled", "message": "the video was cancelled"}
    if record.state == "failed":
        return {"code": "render_failed", "message": public_error(record)}
    return None
