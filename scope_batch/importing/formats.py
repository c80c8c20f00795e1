"""Reads the two formats of an export, the timeline and the newer workflow, into one `Export`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from scope_batch.errors import JobError
from scope_batch.files.kinds import stand_in
from scope_batch.importing.notes import ImportNotes, one_line, shown
from scope_batch.importing.reading import (
    Export,
    Setting,
    merged,
    read_blocks,
    read_loras,
    read_maps,
    read_prompts,
    read_settings,
)

MAX_BYTES = 4 * 1024 * 1024
TIMELINE_VERSIONS = ("2.0", "2.1")
WORKFLOW_FORMAT = "scope-workflow"
WORKFLOW_VERSIONS = ("1.0",)
TIMELINE_KEYS = frozenset(("prompts", "settings", "version", "exportedAt"))
WORKFLOW_KEYS = frozenset(
    ("format", "format_version", "metadata", "pipelines", "timeline", "prompts", "min_scope_version")
)
PIPELINE_KEYS = frozenset(("pipeline_id", "pipeline_version", "source", "loras", "params", "role"))
OWN_PIPELINE = "builtin"
"""`source.type` of a pipeline that is part of Scope."""


def read_export(data: bytes, name: str, notes: ImportNotes) -> Export:
    """Read the export from the bytes of a file called `name`. Raises JobError with one line: not JSON, not an export,
    or an unknown version."""
    document = _parsed(data, name)
    if not isinstance(document, dict):
        raise JobError(f"{name}: not a Scope export: it holds {shown(document)}, not an object")
    if document.get("format") == WORKFLOW_FORMAT:
        _check_version(document, "format_version", WORKFLOW_VERSIONS, name)
        return _workflow(document, name, notes)
    if not isinstance(document.get("prompts"), list) or "version" not in document:
        raise JobError(
            f'{name}: not a Scope export: neither a timeline ("prompts", "settings", "version") nor a workflow '
            f'("format": "{WORKFLOW_FORMAT}")'
        )
    _check_version(document, "version", TIMELINE_VERSIONS, name)
    return _timeline(document, notes)


def _parsed(data: bytes, name: str) -> Any:
    if len(data) > MAX_BYTES:
        raise JobError(f"{name}: larger than {MAX_BYTES // 1024**2} MiB, not a Scope export")
    if other_kind := stand_in(data):
        raise JobError(f"{name}: is {other_kind}, not a Scope export")
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise JobError(f"{name}: not a Scope export: not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise JobError(f"{name}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from error
    except (RecursionError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise JobError(f"{name}: not a Scope export: nested too deep, or a number is too long") from error


def _check_version(document: Mapping[str, Any], key: str, known: tuple[str, ...], name: str) -> None:
    version = document.get(key)
    if version not in known:
        raise JobError(f"{name}: {key} {shown(version)} is not known; this program reads {', '.join(known)}")


def _timeline(document: Mapping[str, Any], notes: ImportNotes) -> Export:
    notes.unknown_keys([document], TIMELINE_KEYS, "export")
    settings = _map(document.get("settings"), "settings", notes)
    fields = read_settings(settings, "settings")
    overrides = fields.pop("schema_field_overrides", None)
    if overrides is not None:
        fields = merged(fields, read_settings(_map(overrides.value, overrides.place, notes), overrides.place))
    loras = fields.pop("loras", None)
    exported = document.get("exportedAt")
    date = f", exported {one_line(exported)}" if isinstance(exported, str) else ""
    return Export(
        title=f"Scope timeline {document['version']}{date}",
        settings=_with_size(fields),
        blocks=read_blocks(document["prompts"], "prompts", notes),
        prompts=(),
        loras=read_loras(loras and loras.value, "settings.loras", notes),
    )


def _workflow(document: Mapping[str, Any], name: str, notes: ImportNotes) -> Export:
    notes.unknown_keys([document], WORKFLOW_KEYS, "workflow")
    place, pipeline = _main_pipeline(document, name, notes)
    params = read_settings(_map(pipeline.get("params"), f"{place}.params", notes), f"{place}.params")
    timeline = _map(document.get("timeline"), "timeline", notes)
    blocks = read_blocks(timeline.get("entries"), "timeline.entries", notes)
    if blocks and document.get("prompts"):
        notes.left_out("prompts", document["prompts"], "the timeline has its own prompts")
    return Export(
        title=_workflow_title(document),
        settings=_with_size(params) | {"pipeline_id": Setting(f"{place}.pipeline_id", pipeline.get("pipeline_id"))},
        blocks=blocks,
        prompts=() if blocks else read_prompts(document.get("prompts"), "prompts", notes),
        loras=read_loras(pipeline.get("loras"), f"{place}.loras", notes),
    )


def _main_pipeline(document: Mapping[str, Any], name: str, notes: ImportNotes) -> tuple[str, dict[str, Any]]:
    """Return the pipeline that renders. Processors before and after it, and a second main pipeline, are noted."""
    pipelines = read_maps(document.get("pipelines"), "pipelines", PIPELINE_KEYS, notes)
    main = next(((p, item) for p, item in pipelines if item.get("role", "main") == "main"), None)
    if main is None:
        raise JobError(f'{name}: not a Scope export that can be rendered: no item of pipelines has "role": "main"')
    for place, item in pipelines:
        if place != main[0]:
            notes.left_out(
                f"{place}.pipeline_id", item.get("pipeline_id"), f"a {item.get('role', 'main')} beside {main[0]}"
            )
    source = main[1].get("source")
    kind = source.get("type") if isinstance(source, dict) else source
    if kind not in (None, OWN_PIPELINE):
        notes.left_out(f"{main[0]}.source", source, "a job names its pipeline only by id")
    return main


def _workflow_title(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    values = metadata if isinstance(metadata, dict) else {}
    title = f"Scope workflow {document['format_version']}"
    if isinstance(values.get("name"), str):
        title += f" {shown(values['name'])}"
    if isinstance(values.get("created_at"), str):
        title += f", created {one_line(values['created_at'])}"
    if isinstance(values.get("scope_version"), str):
        title += f" with Scope {one_line(values['scope_version'])}"
    return title


def _with_size(settings: dict[str, Setting]) -> dict[str, Setting]:
    """Replace the setting `resolution` by height and width."""
    size = settings.pop("resolution", None)
    if size is None or size.value is None:
        return settings
    if not isinstance(size.value, dict):
        return settings | {"resolution": size}
    return merged(settings, {key: Setting(f"{size.place}.{key}", value) for key, value in size.value.items()})


def _map(value: Any, place: str, notes: ImportNotes) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, dict):
        notes.left_out(place, value, "not a map")
    return value if isinstance(value, dict) else {}
