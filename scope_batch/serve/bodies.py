"""Receives bodies of requests part by part, with a limit on their size and a deadline for each part; checks fields."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send

from scope_batch.errors import JobError
from scope_batch.serve.problem_documents import HttpProblem

Model = TypeVar("Model", bound=BaseModel)
MAX_BODY_BYTES = 4 << 20
"""Longest body that is kept in memory."""


class ClosingUnread:
    """The `receive` and `send` of a request for an application. An answer to a body that was not read to its end closes
    the connection: it would else bring the rest of the body before the next request."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        self._receive, self._send = receive, send
        self._is_unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers

    async def receive(self) -> Message:
        message = await self._receive()
        self._is_unread = self._is_unread and message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self._is_unread:
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await self._send(message)


async def body_parts(request: Request, timeout_s: float) -> AsyncIterator[bytes]:
    """Yield the parts of the body; each must come within `timeout_s` seconds after the one before."""
    parts = request.stream()
    while True:
        try:
            async with asyncio.timeout(timeout_s):
                data = await anext(parts)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise HttpProblem(HTTPStatus.REQUEST_TIMEOUT, f"no data came for {timeout_s:g} seconds") from None
        except ClientDisconnect:
            raise HttpProblem(HTTPStatus.BAD_REQUEST, "the upload was cut off") from None
        yield data


async def whole_body(request: Request, timeout_s: float, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Return the body of a request. Raises HttpProblem: 413 for a long one, 408 for a client that stalls; JobError for
    an empty one."""
    body = bytearray()
    async for data in body_parts(request, timeout_s):
        body += data
        if len(body) > max_bytes:
            raise HttpProblem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {max_bytes} bytes are allowed")
    if not body:
        raise JobError("body: is empty; it must be a map of fields")
    return bytes(body)


def checked(model: type[Model], body: Mapping[str, Any]) -> Model:
    """Return the fields of a body as a model. Raises JobError with a line per fault."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise JobError(*lines) from None
