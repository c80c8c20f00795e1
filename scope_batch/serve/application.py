"""Builds the application: every call, behind the guard."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Header, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from scope_batch import __version__
from scope_batch.job.json_schema import job_json_schema
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.serve.api_schema import BINARY_BODY, EVENTS, JSON_BODY, json_body, problems
from scope_batch.serve.assets import add_asset, entries
from scope_batch.serve.downloads import ContentResponse, Format
from scope_batch.serve.event_stream import EventStream
from scope_batch.serve.guard import Access, Guard
from scope_batch.serve.job_calls import job_calls
from scope_batch.serve.page import answer_with_page
from scope_batch.serve.pipeline import LoadReply, LoadRequest, PipelineStatus
from scope_batch.serve.problem_documents import answer_with_problems
from scope_batch.serve.service import Service
from scope_batch.serve.submission_calls import submission_calls
from scope_batch.serve.video_calls import video_calls

FAMILIES = ("/api/v1/batch", "/api/v1/generate")
"""Both names of the protocol's calls; older clients use the second."""


def create_app(service: Service, access: Access) -> Guard:
    """Return the ASGI application. Its lifespan removes what expires; the table and its runner belong to the caller."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(title="scope-batch", version=__version__, openapi_url=None, lifespan=lifespan, redirect_slashes=False)
    answer_with_problems(app)
    for family in FAMILIES:
        app.include_router(_batch_calls(service), prefix=family, tags=[family.rpartition("/")[2]])
    app.include_router(_other_calls(service))
    app.include_router(job_calls(service))
    app.include_router(submission_calls(service))
    app.include_router(video_calls(service))
    answer_with_page(app)

    @app.get("/openapi.json", include_in_schema=False)
    def openapi() -> dict[str, Any]:  # in a thread: the first call takes a tenth of a second
        return app.openapi()

    return Guard(app, access)


def _batch_calls(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post("/upload", responses=problems(400, 408, 413, 422, 507), openapi_extra={"requestBody": BINARY_BODY})
    async def upload(request: Request) -> dict[str, Any]:
        handle, shape = await service.files.uploads.receive_video(request)
        return {"input_path": handle, "num_frames": shape[0], "shape": shape}

    @router.post(
        "/upload-data", responses=problems(400, 408, 413, 422, 507), openapi_extra={"requestBody": BINARY_BODY}
    )
    async def upload_data(request: Request) -> dict[str, Any]:
        handle, size = await service.files.uploads.receive_data(request)
        return {"data_blob_path": handle, "size_bytes": size}

    @router.post(
        "",
        response_class=Response,
        responses={**EVENTS, **problems(400, 408, 409, 413, 422, 503, 507)},
        openapi_extra={"requestBody": JSON_BODY},
    )
    async def render(request: Request) -> EventStream:
        return await service.submit(request)

    @router.post("/cancel", responses=problems(404))
    def cancel(job: str | None = None) -> dict[str, str]:
        service.cancel(job)
        return {"status": "cancelling"}

    @router.head("/download", include_in_schema=False)
    @router.get("/download", response_class=Response, responses=problems(404, 416, 422))
    def download(path: str, wanted: Annotated[Format, Query(alias="format")] = "raw") -> ContentResponse:
        return ContentResponse(service.download(path, wanted))

    @router.get("/{job}", responses=problems(404))
    def state(job: str) -> dict[str, Any]:
        return service.state(job)

    @router.get("/{job}/events", response_class=Response, responses={**EVENTS, **problems(404, 422)})
    def events(job: str, last_event_id: Annotated[int, Header(ge=0, le=2**53)] = 0) -> EventStream:
        return service.events(job, last_event_id)

    @router.delete("/{job}", responses=problems(404))
    def delete(job: str) -> JSONResponse:
        if service.delete(job):
            return JSONResponse({"status": "deleted"})
        return JSONResponse({"status": "cancelling"}, status_code=HTTPStatus.ACCEPTED)

    return router


def _other_calls(service: Service) -> APIRouter:
    router = APIRouter()
    started = time.time()

    @router.post(
        "/api/v1/pipeline/load",
        responses=problems(400, 408, 409, 413, 422, 503),
        openapi_extra=json_body(LoadRequest, "/api/v1/pipeline/load"),
    )
    async def load(request: Request) -> LoadReply:
        return await service.load(request)

    @router.get("/api/v1/pipeline/status", responses=problems())
    async def status() -> PipelineStatus:
        return service.pipeline.status

    @router.get("/health", responses=problems())
    async def health() -> dict[str, Any]:
        return {
            "status": "healthy",
            "timestamp": datetime.now(UTC).isoformat(),
            "server_start_time": started,
            "version": __version__,
            "git_commit": None,
        }

    @router.get("/api/v1/pipelines/schemas", responses=problems())
    def schemas() -> dict[str, Any]:
        specs = [KNOWN_PIPELINES.get(name) for name in KNOWN_PIPELINES.ids()]
        pipelines = {
            spec.id: {"id": spec.id, "name": spec.summary, "height": spec.height, "width": spec.width} for spec in specs
        }
        return {"pipelines": pipelines, "job": job_json_schema()}

    @router.get("/api/v1/lora/list", responses=problems())
    def loras() -> dict[str, Any]:
        return {"lora_files": entries(service.files.loras, (".safetensors",))}

    @router.get("/api/v1/assets", responses=problems())
    def assets() -> dict[str, Any]:
        return {"assets": entries(service.files.assets)}

    @router.post(
        "/api/v1/assets", responses=problems(400, 408, 409, 413, 422, 507), openapi_extra={"requestBody": BINARY_BODY}
    )
    async def add(filename: str, request: Request) -> dict[str, Any]:
        return await add_asset(service.files.assets, service.files.uploads, filename, request)

    return router
