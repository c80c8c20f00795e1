"""The JSON Schema (draft 2020-12) of a job file, for editors: it accepts what the loader accepts."""

from __future__ import annotations

from typing import Any

from scope_batch.job.schema import Job
from scope_batch.job.unavailable import BY_FIELD

DIALECT = "https://json-schema.org/draft/2020-12/schema"
VARIABLE = {"type": "string", "pattern": r"\$\{[A-Za-z_]"}
"""A number, a truth value or a word may also come from `${VAR}`."""


def job_json_schema() -> dict[str, Any]:
    """The schema as plain JSON values."""
    schema = Job.model_json_schema(mode="validation")
    for model in (schema, *schema["$defs"].values()):
        required = model.get("required", [])
        model["properties"] = {
            name: _property(name, field, required=name in required)
            for name, field in model.get("properties", {}).items()
        }
    schema["$defs"]["Variable"] = VARIABLE
    entry = schema["$defs"]["ChunkSpec"]
    entry["anyOf"] = [{"required": [place]} for place in ("chunk", "frame", "time")]
    return {"$schema": DIALECT, **schema, "title": "scope-batch job"}


def _property(name: str, field: dict[str, Any], *, required: bool) -> dict[str, Any]:
    notes = {key: field.pop(key) for key in ("title", "description", "default", "examples") if key in field}
    notes.pop("title", None)
    if name in BY_FIELD and BY_FIELD[name].values is None:
        notes["description"] = f"{notes.get('description', '')} Not available yet.".strip()
    choices = [_with_variables(field)]
    if not required:
        choices.append({"type": "null"})
    return {**notes, **(choices[0] if len(choices) == 1 else {"anyOf": choices})}


def _with_variables(schema: dict[str, Any]) -> dict[str, Any]:
    """Every value that is no free text may be a text with a variable instead."""
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema = {**schema, key: _with_variables(schema[key])}
    if "anyOf" in schema:
        return {**schema, "anyOf": [_with_variables(choice) for choice in schema["anyOf"]]}
    if schema.get("type") in ("integer", "number", "boolean") or "enum" in schema or "const" in schema:
        return {"anyOf": [schema, {"$ref": "#/$defs/Variable"}]}
    return schema
