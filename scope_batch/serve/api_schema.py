"""Holds the parts of the OpenAPI document that several calls share."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from scope_batch.serve.problem_documents import MEDIA_TYPE

BINARY_BODY = {
    "required": True,
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
JSON_BODY = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}
_PROBLEM: dict[str, Any] = {"content": {MEDIA_TYPE: {"schema": {"type": "object"}}}}


def json_body(model: type[BaseModel], path: str) -> dict[str, Any]:
    """Return `openapi_extra` of a POST whose body the call itself reads as this model. path: that of the call."""
    place = ("paths", path, "post", "requestBody", "content", "application/json", "schema", "$defs", "{model}")
    reference = "#/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in place)
    schema = model.model_json_schema(ref_template=reference)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the answers of these statuses, and those that the guard gives to any call."""
    return {
        status: {**_PROBLEM, "description": HTTPStatus(status).phrase} for status in (*statuses, 401, 403, 415, 421)
    }
