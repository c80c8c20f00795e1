"""Holds the calls of the page, which send whole job files and list all jobs."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from scope_batch.serve.api_schema import problems
from scope_batch.serve.job_text import JobCheck
from scope_batch.serve.service import Service

_TEXT = {"required": True, "content": {"application/yaml": {"schema": {"type": "string"}}}}
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {"schema": {"type": "string"}}}}}


def job_calls(service: Service) -> APIRouter:
    router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])

    @router.get("", responses=problems(422))
    def jobs(limit: Annotated[int, Query(ge=1, le=100)] = 20, before: str | None = None) -> dict[str, Any]:
        return service.jobs(limit, before)

    @router.post(
        "",
        status_code=HTTPStatus.ACCEPTED,
        responses=problems(400, 408, 409, 413, 422, 503, 507),
        openapi_extra={"requestBody": _TEXT},
    )
    async def start(request: Request) -> dict[str, str]:
        return {"job": await service.submit_text(request)}

    @router.post(
        "/check",
        response_model=JobCheck,
        responses=problems(400, 408, 413, 422, 503),
        openapi_extra={"requestBody": _TEXT},
    )
    async def check(request: Request) -> Response:
        return Response(await service.check_text(request), media_type="application/json")

    @router.get("/{job}/plan", response_model=JobCheck, responses=problems(404, 503))
    async def plan(job: str) -> Response:
        return Response(await service.check_job(job), media_type="application/json")

    @router.get("/{job}/preview", response_class=Response, responses={**_JPEG, **problems(404)})
    def preview(job: str) -> Response:
        return Response(service.preview(job), media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    return router
