"""Writes the reference of job fields from the JSON Schema: allowed values, default and meaning of each field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scope_batch.guide.pages import pages_on_field
from scope_batch.job.json_schema import job_file_schema, job_json_schema

PLACES: Mapping[str, tuple[str, str]] = {
    "": ("", "The job"),
    "ChunkSpec": ("chunk_specs", "An entry of chunk_specs"),
    "WeightedPrompt": ("prompt", "A prompt of a blend, in `prompt`, `prompts` and `transition_target_prompts`"),
    "Output": ("output", "An output"),
    "Encoder": ("video", "The encoder of every video output, `video`"),
    "ProcessorUse": ("pre_processor_id", "A processor, in `pre_processor_id` and `post_processor_id`"),
    "ChunkPrompt": ("chunk_prompts", "An entry of chunk_prompts"),
    "ChunkImage": ("first_frames", "An entry of first_frames and last_frames"),
    "ChunkReferences": ("vace_ref_images", "An entry of vace_ref_images"),
}
"""Model of the schema -> the field that holds it, and its heading; in the order of the reference."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a job file.

    place   heading of the map that it belongs to.
    path    as in a message: chunk_specs.text.
    values  the allowed values in words. default: as in a job file, "" if there is none or it depends.
    """

    place: str
    path: str
    values: str
    default: str
    meaning: str

    @property
    def name(self) -> str:
        return self.path.split(".")[-1]


def all_fields() -> tuple[Field, ...]:
    """Return the fields of the job, then those of the maps in it."""
    schema = job_json_schema() | {"properties": job_file_schema()["properties"]}
    models = {"": schema, **schema["$defs"]}
    return tuple(field for name in PLACES for field in _fields_of(name, models[name]))


def _fields_of(model: str, schema: Mapping[str, Any]) -> Iterator[Field]:
    parent, place = PLACES[model]
    for name, facts in schema["properties"].items():
        default = facts.get("default")
        if name in schema.get("required", ()):
            told = "required"
        else:
            told = "" if default in (None, [], {}) else _written(default)
        path = f"{parent}.{name}" if parent else name
        yield Field(place, path, _joined(_values(facts)), told, facts["description"])


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def field_reference() -> str:
    """Return the reference of all fields as Markdown."""
    parts = ["# Fields of a job file\n\nAll values may hold `${VARIABLE}`, and null stands for the default."]
    for _, place in PLACES.values():
        rows = [_row(field) for field in all_fields() if field.place == place]
        parts.append(f"## {place}\n\n" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _row(field: Field) -> str:
    return f"* `{field.name}`: {field.values}{_default(field)}. {field.meaning}"


def _default(field: Field) -> str:
    if field.default == "required":
        return "; required"
    return f"; default `{field.default}`" if field.default else ""


def field_page(name: str) -> str | None:
    """Return a page on the field of this name or path, wherever it occurs, None if there is none."""
    found = [field for field in all_fields() if name in (field.name, field.path)]
    if not found:
        return None
    parts = [f"# {name}"]
    for field in found:
        where = field.place if field.path == field.name else f"{field.place} (`{field.path}`)"
        parts.append(f"{where}: {field.values}{_default(field)}.\n\n{field.meaning}")
    pages = pages_on_field(found[0].name)
    if pages:
        parts.append("See also: " + ", ".join(f"`scope-batch help {page}`" for page in pages))
    return "\n\n".join(parts) + "\n"


def _values(schema: Mapping[str, Any]) -> list[str]:
    """Return the allowed values in words, one item for each alternative. Variables and null are left out."""
    if "anyOf" in schema:
        found: list[str] = []
        for choice in schema["anyOf"]:
            of_these = "items" in choice and found and _values(choice["items"]) == found
            found += ["a list of these"] if of_these else _values(choice)
        return list(dict.fromkeys(found))
    if "$ref" in schema:
        model = schema["$ref"].split("/")[-1]
        return [] if model == "Variable" else [_map_in_words(model)]
    if "enum" in schema:
        return [_joined([f"`{_written(value)}`" for value in schema["enum"]])]
    if "const" in schema:
        return [f"`{_written(schema['const'])}`"]
    match schema["type"]:
        case "integer" | "number":
            return [_number_in_words(schema)]
        case "boolean":
            return ["`true` or `false`"]
        case "array" if "items" not in schema:
            return ["a list"]
        case "array":
            return [f"a list of: {_joined(_values(schema['items']))}"]
        case "object" if "propertyNames" in schema:
            return ["keyframes {frame: value}"]
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return [f"a map to: {_joined(_values(schema['additionalProperties']))}"]
        case "object":
            return ["a map"]
        case "string":
            return ['a formula "frame:(expression), ..."' if "pattern" in schema else "a text"]
    return []


def _map_in_words(model: str) -> str:
    return f"a map ({PLACES[model][1][0].lower()}{PLACES[model][1][1:]})"


def _number_in_words(schema: Mapping[str, Any]) -> str:
    words = "a whole number" if schema["type"] == "integer" else "a number"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        words += f" in {low:g}..{high:g}" if high < 1e6 else f" in {low}..{high}"
    elif low is not None:
        words += f" >= {low:g}"
    return words + (f", a multiple of {schema['multipleOf']}" if "multipleOf" in schema else "")


def _joined(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
