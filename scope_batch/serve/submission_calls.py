"""Holds the calls of `scope-batch submit`: files, jobs that name them, and their events and results."""

from __future__ import annotations

import json
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from scope_batch.errors import JobError, MissingInputError
from scope_batch.jobs.records import BusyError, JobRecord, StoredEvent
from scope_batch.serve.api_schema import BINARY_BODY, EVENTS, json_body, problems
from scope_batch.serve.bodies import checked
from scope_batch.serve.event_stream import EventStream
from scope_batch.serve.job_events import output_handle, public_message, raw_output
from scope_batch.serve.requests import read_body
from scope_batch.serve.service import Service
from scope_batch.serve.submissions import Submission, translate_submission
from scope_batch.sinks.metadata import ENVIRONMENT_ENTRY, MODELS_ENTRY, read_metadata

_OF_THE_MACHINE = ("event", "outputs", "folder")
"""Values of events that are of no use elsewhere: the kind, which is the event's name, and paths."""


def render_event(event: StoredEvent, record: JobRecord) -> tuple[str, dict[str, Any]]:
    """Return (kind, data) of an event of a render, as `scope_batch.events` has it, without paths of this machine."""
    values = json.loads(event.data)
    data = {name: value for name, value in values.items() if name not in _OF_THE_MACHINE}
    texts = {name: public_message(data[name], record) for name in ("message", "error") if name in data}
    return event.kind, data | texts


def submission_calls(service: Service) -> APIRouter:
    router = APIRouter(tags=["submissions"])

    @router.post(
        "/api/v1/files",
        responses=problems(400, 408, 413, 422, 507),
        openapi_extra={"requestBody": BINARY_BODY},
        summary="Upload one file that a job will name",
    )
    async def add_file(request: Request) -> dict[str, Any]:
        handle, size = await service.files.uploads.receive_file(request)
        return {"file": handle, "size_bytes": size}

    @router.post(
        "/api/v1/submissions",
        responses=problems(400, 408, 409, 413, 422, 503, 507),
        openapi_extra=json_body(Submission, "/api/v1/submissions"),
        summary="Render a job whose inputs are uploads; it does not depend on this connection",
        status_code=HTTPStatus.ACCEPTED,
    )
    async def submit(request: Request) -> JSONResponse:
        body = await service.read(request)
        record = await service.planned(partial(_submit, service, body))
        return JSONResponse({"job": record.id}, HTTPStatus.ACCEPTED, {"Location": f"/api/v1/jobs/{record.id}"})

    @router.get("/api/v1/jobs/{job}", responses=problems(404), summary="The state of a job, and its result")
    def state(job: str) -> dict[str, Any]:
        record = service.known(job)
        notes = json.loads(record.caller)
        return {
            **service.state(job),
            "exit_code": record.exit_code,
            "job_sha256": notes.get("job_sha256"),
            "result": _result(record),
        }

    @router.get(
        "/api/v1/jobs/{job}/events",
        response_class=Response,
        responses={**EVENTS, **problems(404, 422)},
        summary="The events of a render, named as in --progress json",
    )
    def events(job: str, last_event_id: Annotated[int, Header(ge=0, le=2**53)] = 0) -> EventStream:
        return service.events(job, last_event_id, render_event)

    @router.post("/api/v1/jobs/{job}/cancel", responses=problems(404), summary="Cancel a job")
    def cancel(job: str) -> dict[str, str]:
        service.cancel(job)
        return {"status": "cancelling"}

    return router


def _submit(service: Service, body: bytes) -> JobRecord:
    submission = checked(Submission, read_body(body))
    busy: BusyError | None = None
    try:
        service.refuse_if_busy()
    except BusyError as error:
        busy = error  # perhaps with this very submission, whose answer the client may not have received
    if submission.key is not None and (earlier := service.table.with_key(submission.key)) is not None:
        return earlier
    if busy is not None:
        raise busy
    job, translation, place = translate_submission(submission, service.pipeline.models, service.files)
    try:
        record = service.add(job, translation, key=submission.key, job_sha256=submission.job_sha256)
    except BaseException:
        service.files.uploads.sets.remove(place)
        raise
    if place.name not in record.request:  # the job names no file, or is that of an equal submission at the same moment
        service.files.uploads.sets.remove(place)
    return record


def _result(record: JobRecord) -> dict[str, Any] | None:
    """Return what a client needs to fetch and write the video; None unless the job is done and has its output."""
    output = raw_output(record)
    if record.state != "done" or output is None:
        return None
    try:
        document = read_metadata(Path(output))
    except (JobError, MissingInputError):
        return None
    return {
        "output_path": output_handle(record.id),
        "size_bytes": document["bytes"],
        "sha256": document["sha256"],
        "models_sha256": document.get(MODELS_ENTRY, {}),
        "environment": document.get(ENVIRONMENT_ENTRY),
        "generator": document["generator"],
    }
