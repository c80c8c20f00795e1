"""Answers every error with a problem document (RFC 9457), whatever part of the server raised it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from scope_batch.errors import (
    MAX_PROBLEMS,
    JobError,
    MissingInputError,
    OutputError,
    OutputExistsError,
    ProblemsError,
    ScopeBatchError,
    TemporaryError,
    TimeLimitError,
    UnavailableError,
    UsageError,
)
from scope_batch.jobs.records import BusyError

MEDIA_TYPE = "application/problem+json"
log = logging.getLogger(__name__)

STATUS: Mapping[type[ScopeBatchError], HTTPStatus] = {
    UsageError: HTTPStatus.BAD_REQUEST,
    JobError: HTTPStatus.UNPROCESSABLE_ENTITY,
    MissingInputError: HTTPStatus.UNPROCESSABLE_ENTITY,
    OutputExistsError: HTTPStatus.CONFLICT,
    BusyError: HTTPStatus.CONFLICT,
    UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    TemporaryError: HTTPStatus.SERVICE_UNAVAILABLE,
    TimeLimitError: HTTPStatus.SERVICE_UNAVAILABLE,
    OutputError: HTTPStatus.INSUFFICIENT_STORAGE,
}
"""Errors of this package that a client may meet; any other one is an internal error (500)."""


class HttpProblem(Exception):
    """Ends a request with a status and one sentence for the client."""

    def __init__(self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


def problem_response(
    status: int, detail: str, *, problems: Sequence[str] = (), headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return the problem document. `problems`: one line per fault, where a request has several."""
    known = HTTPStatus(status)
    body: dict[str, Any] = {"type": "about:blank", "title": known.phrase, "status": int(known), "detail": detail}
    if problems:
        body["problems"] = [*problems]
    return JSONResponse(body, status_code=known, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def response_of(error: Exception) -> JSONResponse:
    """Return the answer to any error. Only errors that blame the request tell their words to the client; the words of
    the others, which may name folders of this machine, go to the log."""
    match error:
        case HttpProblem():
            return problem_response(error.status, error.detail, headers=error.headers)
        case HTTPException():
            return problem_response(error.status_code, str(error.detail), headers=error.headers)
        case RequestValidationError():
            lines = [_line(details) for details in error.errors()[:MAX_PROBLEMS]]
            return problem_response(HTTPStatus.UNPROCESSABLE_ENTITY, _summary(lines), problems=lines)
        case ScopeBatchError():
            status = STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
            if status < HTTPStatus.INTERNAL_SERVER_ERROR:
                lines = [*error.problems] if isinstance(error, ProblemsError) else [str(error)]
                return problem_response(status, _summary(lines), problems=lines)
            log.error("%s: %s", type(error).__name__, error)
            return problem_response(status, _REASONS.get(status, _BUG))
    log.error("internal error", exc_info=error)
    return problem_response(HTTPStatus.INTERNAL_SERVER_ERROR, _BUG)


_BUG = "internal error; the server's log holds the cause"
_REASONS = {
    HTTPStatus.SERVICE_UNAVAILABLE: "the server cannot render this now; its log holds the cause",
    HTTPStatus.INSUFFICIENT_STORAGE: "the server cannot write its files; its log holds the cause",
}


def answer_to(error: Exception, path: str) -> JSONResponse:
    """Return the answer to an error in the dialect of a path: OpenAI's error object for /v1, else a problem document.

    That API answers a wrong request with 400 where a job has 422, and a busy server with 429.
    """
    answer = response_of(error)
    if not _OPENAI_PATH.match(path):
        return answer
    document = json.loads(bytes(answer.body))
    status = _OPENAI_STATUS.get(answer.status_code, answer.status_code)
    lines = document.get("problems") or [document["detail"]]
    field = _FIELD.match(lines[0])
    body = {
        "message": "\n".join(lines),
        "type": _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
        "param": field[1] if field and status == HTTPStatus.BAD_REQUEST else None,
        "code": document["title"].lower().replace(" ", "_"),
    }
    kept = {name: value for name, value in answer.headers.items() if name == "www-authenticate"}
    return JSONResponse({"error": body}, status_code=status, headers=kept)


_OPENAI_PATH = re.compile(r"(/t/[^/]*)?/v1(/|$)")
_FIELD = re.compile(r"(?:job: |body\.|query\.)?([a-z_]+)[\w\[\].]*: ")
_OPENAI_STATUS = {422: 400, 409: 429}
_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def answer_with_problems(app: FastAPI) -> None:
    """Make `app` answer every error that a route raises with a problem document."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        return answer_to(error, request.url.path)

    for kind in (HttpProblem, HTTPException, RequestValidationError, ScopeBatchError, Exception):
        app.add_exception_handler(kind, handle)


def _summary(lines: Sequence[str]) -> str:
    return lines[0] if len(lines) == 1 else f"{len(lines)} problems; the first: {lines[0]}"


def _line(details: Any) -> str:
    """Return "body.load_params.height: Input should be ..."; the client's value is not repeated."""
    return f"{'.'.join(map(str, details['loc']))}: {details['msg']}"
