"""Reads the form that OpenAI's client posts for a video: texts for fields, and a file that goes to the uploads."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, BinaryIO

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from scope_batch.errors import JobError
from scope_batch.job.faults import shown
from scope_batch.job.paths import TEXT_FIELDS
from scope_batch.serve.bodies import MAX_BODY_BYTES, body_parts
from scope_batch.serve.problem_documents import HttpProblem
from scope_batch.serve.requests import MAX_LEVELS, check_content
from scope_batch.serve.uploads import Incoming, Uploads

MAX_FIELDS, MAX_FIELD_BYTES = 1000, 1 << 20
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_TEXTS = TEXT_FIELDS | {"model", "size", "seconds", "input_reference"}
"""Fields whose texts are no JSON."""


async def read_form(request: Request, uploads: Uploads, timeout_s: float) -> dict[str, Any]:
    """Return the fields of a form; its file is stored, and `input_reference` becomes the handle.

    A field holds text, or JSON: numbers, true, lists, maps. "a[]" adds to a list, "a[b]" to a map.
    Raises HttpProblem for a form that is broken, JobError for a field that cannot be told; no file is left then.
    """
    async with AsyncExitStack() as stack:
        parser = _Parser(request.headers, _limited(request, timeout_s, uploads.file_bytes), uploads, stack)
        try:
            form = await parser.parse()
        except (MultiPartException, KeyError, UnicodeDecodeError) as error:
            detail = error.message if isinstance(error, MultiPartException) else "has no boundary, or no texts"
            raise HttpProblem(HTTPStatus.BAD_REQUEST, f"the form cannot be read: {detail}") from None
        stack.push_async_callback(form.close)
        fields: dict[str, Any] = {}
        received: Incoming | None = None
        for name, value in form.multi_items():
            if isinstance(value, str):
                _add(fields, name, value)
                continue
            received = value.incoming if isinstance(value, _File) else None
            if received is None:
                raise HttpProblem(HTTPStatus.BAD_REQUEST, "the file is empty")
            _add(fields, name, received.handle)
        check_content(fields)
        if received is not None:
            await received.complete()
        return fields


class _File(UploadFile):
    """The file of a form. It goes to the uploads while it arrives; `incoming` is None before its first byte."""

    def __init__(self, spool: BinaryIO, uploads: Uploads, stack: AsyncExitStack) -> None:
        super().__init__(spool)
        self.incoming: Incoming | None = None
        self._uploads, self._stack = uploads, stack

    async def write(self, data: bytes) -> None:
        if self.incoming is None:
            receiving = self._uploads.receiving("file", self._uploads.file_bytes)
            self.incoming = await self._stack.enter_async_context(receiving)
        await self.incoming.write(data)


class _Parser(MultiPartParser):
    """Parses a form with one file, which is not spooled but goes to the uploads."""

    def __init__(
        self, headers: Headers, body: AsyncGenerator[bytes, None], uploads: Uploads, stack: AsyncExitStack
    ) -> None:
        super().__init__(headers, body, max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)
        self._uploads, self._stack = uploads, stack
        self._text_bytes = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self._text_bytes += end - start
            if self._text_bytes > MAX_BODY_BYTES:
                detail = f"the fields of a form may have {MAX_BODY_BYTES} bytes together"
                raise HttpProblem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        super().on_part_data(data, start, end)

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        part = self._current_part
        if part.file is not None:
            if part.field_name != "input_reference":
                raise JobError(f"{shown(part.field_name)}: takes no file; only input_reference does")
            part.file = _File(part.file.file, self._uploads, self._stack)


async def _limited(request: Request, timeout_s: float, max_bytes: int) -> AsyncGenerator[bytes, None]:
    received = 0
    async for data in body_parts(request, timeout_s):
        received += len(data)
        if received > max_bytes:
            raise HttpProblem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {max_bytes} bytes are allowed")
        yield data


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a field of a form belongs: keys of nested maps; `is_item`: it is added to the list there."""

    keys: tuple[str, ...]
    is_item: bool


def _add(fields: dict[str, Any], name: str, text: str) -> None:
    place = _place(name)
    target = fields
    for key in place.keys[:-1]:
        target = target.setdefault(key, {})
        if not isinstance(target, dict):
            raise JobError(f"{shown(name)}: is given as a map and as something else")
    last = place.keys[-1]
    value = _value(place.keys[0], text)
    if place.is_item:
        items = target.setdefault(last, [])
        if not isinstance(items, list):
            raise JobError(f"{shown(name)}: is given as a list and as something else")
        items.append(value)
    elif last in target:
        raise JobError(f"{shown(name)}: is given twice")
    else:
        target[last] = value


def _place(name: str) -> _Place:
    match = _NAME.fullmatch(name)
    if match is None or not name.isprintable():
        raise JobError(f"{shown(name)}: is no name of a field")
    first, *keys = match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])
    if len(keys) >= MAX_LEVELS:
        raise JobError(f"{shown(name)}: has more than {MAX_LEVELS} levels of lists and maps")
    is_item = keys[-1:] == [""]
    inner = keys[:-1] if is_item else keys
    if "" in inner:
        raise JobError(
            f"{first}: a form cannot tell apart the maps of a list; send the list as JSON text: "
            f'extra_body={{"{first}": json.dumps([...])}}'
        )
    return _Place((first, *inner), is_item)


def _value(field_name: str, text: str) -> Any:
    if field_name in _TEXTS:
        return text
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text


def _no_constant(name: str) -> Any:
    raise ValueError(name)
