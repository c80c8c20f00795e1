"""Holds the calls of the second dialect, `/v1/videos`, in the shape of OpenAI's video API."""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from scope_batch.jobs.records import JobRecord
from scope_batch.serve.downloads import ContentResponse, contact_sheet
from scope_batch.serve.job_events import output_handle
from scope_batch.serve.problem_documents import HttpProblem
from scope_batch.serve.requests import read_body
from scope_batch.serve.service import Service
from scope_batch.serve.submissions import translate_submission
from scope_batch.serve.video_forms import read_form
from scope_batch.serve.videos import PREFIX, job_of_video, submission_of, video_object

Variant = Literal["video", "npy", "sheet", "spritesheet", "thumbnail"]
_FIELDS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": True,
    "properties": {
        "prompt": {"type": "string"},
        "model": {"type": "string", "description": "A pipeline."},
        "size": {"type": "string", "examples": ["832x480"]},
        "seconds": {"type": "string", "examples": ["4"]},
    },
}
_REFERENCE = {"input_reference": {"type": "string", "format": "binary"}}
_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": _FIELDS},
        "multipart/form-data": {"schema": {**_FIELDS, "properties": {**_FIELDS["properties"], **_REFERENCE}}},
    },
}
_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_VIDEO: dict[int | str, dict[str, Any]] = {200: {"content": {"video/mp4": {"schema": {"type": "string"}}}}}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"content": {"application/json": {"schema": _ERROR}}, "description": HTTPStatus(status).phrase}
        for status in (400, *statuses, 401, 403, 415, 421)
    }


def video_calls(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1/videos", tags=["videos"])

    def shown(record: JobRecord) -> dict[str, Any]:
        started = service.table.first_event(record.id, "started")
        return video_object(record, service.policy.keep_s, json.loads(started.data) if started else None)

    @router.post(
        "",
        responses=_errors(408, 413, 429, 503, 507),
        openapi_extra={"requestBody": _BODY},
        summary="Render a video; any field of a job file is allowed",
    )
    async def create(request: Request) -> dict[str, Any]:
        await run_in_threadpool(service.refuse_if_busy)
        if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            fields = await read_form(request, service.files.uploads, service.policy.read_timeout_s)
        else:
            fields = read_body(await service.read(request))
        return await service.planned(lambda: shown(_create(service, fields)))

    @router.get("", responses=_errors(404), summary="List videos")
    def videos(
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        after: str | None = None,
        order: Literal["asc", "desc"] = "desc",
    ) -> dict[str, Any]:
        last = None if after is None else service.known(job_of_video(after)).id
        found = service.records(limit + 1, last, newest_first=order == "desc")
        page = [shown(record) for record in found[:limit]]
        return {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(found) > limit,
        }

    @router.get("/{video}", responses=_errors(404), summary="The state of a video")
    def retrieve(video: str) -> dict[str, Any]:
        return shown(service.known(job_of_video(video)))

    @router.get(
        "/{video}/content",
        response_class=Response,
        responses={**_VIDEO, **_errors(404, 416)},
        summary="The video: MP4; npy: frames; sheet: a picture of many frames",
    )
    def content(video: str, variant: Variant = "video") -> Response:
        record = service.known(job_of_video(video))
        if record.state != "done":
            status = video_object(record, 0)["status"]
            raise HttpProblem(HTTPStatus.BAD_REQUEST, f"the video is not completed; its status is {status}")
        if variant in ("video", "npy"):
            return ContentResponse(service.download(output_handle(record.id), "mp4" if variant == "video" else "npy"))
        array = Path(next(path for path in record.outputs if path.endswith(".npy")))
        return Response(contact_sheet(array, 1 if variant == "thumbnail" else 12), media_type="image/jpeg")

    @router.delete("/{video}", responses=_errors(404), summary="Remove a video; one that is rendered is cancelled")
    def delete(video: str) -> dict[str, Any]:
        job = job_of_video(video)
        service.delete(job)
        return {"id": PREFIX + job, "object": "video.deleted", "deleted": True}

    return router


def _create(service: Service, fields: dict[str, Any]) -> JobRecord:
    submission = submission_of(fields, service.files.uploads)
    job, translation, place = translate_submission(submission, service.pipeline.models, service.files)
    try:
        return service.add(job, translation)
    except BaseException:
        service.files.uploads.sets.remove(place)
        raise
