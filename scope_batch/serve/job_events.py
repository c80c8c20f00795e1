"""Tells the events of a job in the protocol's words: `started`, `position`, `progress`, `warning`, and the last one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from scope_batch.jobs.records import ENDED, JobRecord, StoredEvent
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.serve.downloads import video_shape
from scope_batch.serve.problem_documents import HttpProblem
from scope_batch.serve.requests import Translation, public_text

MAX_PROMPT_CHARACTERS = 200
RAW_NAME = "out.npy"
"""The output of every job from which the protocol's download is made."""


def caller_text(translation: Translation, notes: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Return what the job table keeps about a request: its warnings, the client's names for paths, and notes."""
    return json.dumps({**notes, "names": translation.names, "warnings": translation.warnings})


def planned(record: JobRecord) -> tuple[int, int]:
    """Return the chunks and the delivered frames of a job, also before it has begun."""
    notes, progress = json.loads(record.caller), record.progress
    return (
        progress.num_chunks or notes.get("total_chunks", 0),
        progress.num_frames or notes.get("num_frames", 0),
    )


def started(record: JobRecord, position: int) -> tuple[str, dict[str, Any]]:
    """Return the first event of every stream. position: so many jobs must end before this one begins."""
    chunks, frames = planned(record)
    return "started", {"job": record.id, "total_chunks": chunks, "num_frames": frames, "position": position}


def request_warnings(record: JobRecord) -> list[tuple[str, dict[str, Any]]]:
    """Return an event for each part of the request that was left out."""
    return [("warning", {"message": warning}) for warning in json.loads(record.caller)["warnings"]]


def output_handle(job: str) -> str:
    return f"output-{job}"


def job_of_output(handle: str) -> str | None:
    """Return the id of the job whose output has this handle; None if it is no handle."""
    match = re.fullmatch(r"output-([0-9a-f]{32})", handle)
    return match and match[1]


def raw_output(record: JobRecord) -> Path | None:
    """Return the array among the outputs, whole or partial; None if there is none."""
    return next((Path(path) for path in record.outputs if path.endswith(".npy")), None)


def first_prompt(record: JobRecord) -> str:
    """Return the beginning of the job's first prompt, by which people know it."""
    prompt = json.loads(record.request).get("prompt", "")
    if isinstance(prompt, list):
        prompt = prompt[0] if prompt else ""
    if isinstance(prompt, dict):
        prompt = prompt.get("text", "")
    return str(prompt)[:MAX_PROMPT_CHARACTERS]


def state_of(record: JobRecord, jobs_ahead: int | None, *, has_preview: bool) -> dict[str, Any]:
    """Return what clients see of a job. jobs_ahead: so many come before it; None unless it waits."""
    chunks, frames = planned(record)
    return {
        "job": record.id,
        "state": record.state,
        "jobs_ahead": jobs_ahead,
        "chunks_done": record.progress.chunks_done,
        "total_chunks": chunks,
        "frames_done": record.progress.frames_done,
        "num_frames": frames,
        "submitted": record.submitted_s,
        "started": record.started_s,
        "finished": record.finished_s,
        "output_path": None if raw_output(record) is None else output_handle(record.id),
        "error": public_error(record) or None,
        "prompt": first_prompt(record),
        "has_preview": has_preview,
    }


def protocol_event(event: StoredEvent, record: JobRecord) -> tuple[str, dict[str, Any]] | None:
    """Return (name, data) of an event of the job `record`; None for one that the protocol does not have: `started`
    tells that a job was accepted, not that it begins.

    The record may be newer than the event.
    """
    data = json.loads(event.data)
    match event.kind:
        case "chunk":
            return "progress", {
                "chunk": data["chunk"] + 1,
                "total_chunks": data["chunks"],
                "frames": data["frames"],
                "fps": data["fps"],
                "latency": data["seconds"],
            }
        case "warning":
            return "warning", {"message": public_message(data["message"], record)}
        case "failed":
            return "error", {"error": public_error(record)}
        case "cancelled":
            return "cancelled", _cancelled(record)
        case "done":
            return _complete(record)
    return None


def public_error(record: JobRecord) -> str:
    """Return why a job failed, in the client's words; empty if it did not."""
    return public_message(record.error, record)


def public_message(message: str, record: JobRecord) -> str:
    """Return a message with the client's names in place of paths."""
    return public_text(message, json.loads(record.caller)["names"])


def is_last(event: StoredEvent) -> bool:
    return event.kind in ENDED


def encode(name: str, data: Mapping[str, Any], number: int | None = None) -> bytes:
    """Return the event as lines of a text/event-stream. `number`: its id, with which a client can continue."""
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {name}\ndata: {json.dumps(data, allow_nan=False)}\n\n".encode("ascii")


def _complete(record: JobRecord) -> tuple[str, dict[str, Any]]:
    output = raw_output(record)
    try:
        shape = None if output is None else video_shape(output)
    except HttpProblem:
        shape = None
    if shape is None:
        return "error", {"error": "the output of the job is gone"}
    pipeline_id = json.loads(record.request)["pipeline_id"]
    return "complete", {
        "output_path": output_handle(record.id),
        "video_shape": shape,
        "num_frames": shape[0],
        "num_chunks": record.progress.num_chunks,
        "chunk_size": KNOWN_PIPELINES.get(pipeline_id).chunk_frames("text", first=False),
    }


def _cancelled(record: JobRecord) -> dict[str, Any]:
    progress = record.progress
    output = {} if raw_output(record) is None else {"output_path": output_handle(record.id)}
    return {
        "chunk": progress.chunks_done,
        "total_chunks": planned(record)[0],
        "frames_completed": progress.frames_done,
        **output,
    }
