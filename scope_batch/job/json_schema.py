"""Makes the JSON Schema (draft 2020-12) of a job and of a job file, for editors. It accepts every job that the loader
accepts."""

from __future__ import annotations

from typing import Any

from scope_batch.job.schedule import Schedule
from scope_batch.job.schema import Job
from scope_batch.job.sweep import FIELD

DIALECT = "https://json-schema.org/draft/2020-12/schema"
VARIABLE = {"type": "string", "pattern": r"\$\{[A-Za-z_]"}
"""Text with `${VAR}`, allowed in place of a number, a truth value or a word."""

SWEEP = {
    "description": "Keys of the job, as for --set, with a list of values each. Every combination is rendered.",
    "examples": [{"seed": [1, 1001], "noise_scale": [0.5, 0.7]}],
    "anyOf": [
        {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"type": "array", "minItems": 1, "uniqueItems": True},
        },
        {"type": "null"},
    ],
}

PLACED = ("ChunkSpec", "ChunkPrompt", "ChunkImage", "ChunkReferences")
"""Maps that name a place."""
_VARIABLE_REF = {"$ref": "#/$defs/Variable"}


def job_json_schema() -> dict[str, Any]:
    """Return the schema of one job as plain JSON values."""
    schema = Job.model_json_schema(mode="validation")
    for model in (schema, *schema["$defs"].values()):
        required = model.get("required", [])
        model["properties"] = {
            name: _property(field, required=name in required) for name, field in model.get("properties", {}).items()
        }
    for name, field in Job.model_fields.items():
        if isinstance(field.default, Schedule):
            schema["properties"][name]["default"] = field.default.written()
    schema["$defs"]["Variable"] = VARIABLE
    for name in PLACED:
        schema["$defs"][name]["anyOf"] = [{"required": [place]} for place in ("chunk", "frame", "time")]
    return {"$schema": DIALECT, **schema, "title": "scope-batch job"}


def job_file_schema() -> dict[str, Any]:
    """Return the schema of a job file, which may hold a sweep: that takes the place of fields that are required."""
    schema = job_json_schema()
    schema["properties"][FIELD] = SWEEP
    required = schema.pop("required")
    return {**schema, "anyOf": [{"required": required}, {"required": [FIELD]}]}


def _property(field: dict[str, Any], *, required: bool) -> dict[str, Any]:
    notes: dict[str, Any] = {key: field.pop(key) for key in ("description", "default", "examples") if key in field}
    field.pop("title", None)
    if notes.get("default") is None or isinstance(notes["default"], dict):
        notes.pop("default", None)
    choices = _choices(field)
    if any(map(_is_not_text, choices)):
        choices.append(_VARIABLE_REF)
    if not required and {"type": "null"} not in choices:
        choices.append({"type": "null"})
    return {**notes, **(choices[0] if len(choices) == 1 else {"anyOf": choices})}


def _choices(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the alternatives of a schema as a flat list; items of lists and maps may be texts with variables."""
    if "anyOf" in schema:
        return [choice for inner in schema["anyOf"] for choice in _choices(inner)]
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            items = _choices(schema[key])
            if any(map(_is_not_text, items)):
                items.append(_VARIABLE_REF)
            schema = {**schema, key: items[0] if len(items) == 1 else {"anyOf": items}}
    return [schema]


def _is_not_text(schema: dict[str, Any]) -> bool:
    return schema.get("type") in ("integer", "number", "boolean") or "enum" in schema or "const" in schema
