"""The two formats of an export: a timeline, and the newer workflow. Both become one `Export`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from scope_batch.errors import JobError
from scope_batch.files.kinds import stand_in
from scope_batch.importing.notes import ImportNotes, one_line, shown
from scope_batch.importing.reading import Export, Setting, maps_in, read_blocks, read_loras, read_prompts, read_settings

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
"""`source.type` of a pipeline that Scope itself brings along."""


def read_export(data: bytes, name: str, told: ImportNotes) -> Export:
    """Raises JobError, one line: no JSON, no export, a version that is not known."""
    document = _parsed(data, name)
    if not isinstance(document, dict):
        raise JobError(f"{name}: no Scope export: it holds {shown(document)}, not an object")
    if document.get("format") == WORKFLOW_FORMAT:
        _check_version(document, "format_version", WORKFLOW_VERSIONS, name)
        return _workflow(document, name, told)
    if not isinstance(document.get("prompts"), list) or "version" not in document:
        raise JobError(
            f'{name}: no Scope export: neither a timeline ("prompts", "settings", "version") nor a workflow '
            f'("format": "{WORKFLOW_FORMAT}")'
        )
    _check_version(document, "version", TIMELINE_VERSIONS, name)
    return _timeline(document, told)


def _parsed(data: bytes, name: str) -> Any:
    if len(data) > MAX_BYTES:
        raise JobError(f"{name}: larger than {MAX_BYTES // 1024**2} MiB, no Scope export")
    if what := stand_in(data):
        raise JobError(f"{name}: is {what}, no Scope export")
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise JobError(f"{name}: no Scope export: not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise JobError(f"{name}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from error
    except (RecursionError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise JobError(f"{name}: no Scope export: nested too deep, or a number is too long") from error


def _check_version(document: Mapping[str, Any], key: str, known: tuple[str, ...], name: str) -> None:
    version = document.get(key)
    if version not in known:
        raise JobError(f"{name}: {key} {shown(version)} is not known; this program reads {', '.join(known)}")


def _timeline(document: Mapping[str, Any], told: ImportNotes) -> Export:
    told.unknown_keys([document], TIMELINE_KEYS, "export")
    settings = _map(document.get("settings"), "settings", told)
    read = read_settings(settings, "settings")
    overrides = read.pop("schema_field_overrides", None)
    if overrides is not None:
        read |= read_settings(_map(overrides.value, overrides.place, told), overrides.place)
    loras = read.pop("loras", None)
    exported = document.get("exportedAt")
    when = f", exported {one_line(exported)}" if isinstance(exported, str) else ""
    return Export(
        title=f"Scope timeline {document['version']}{when}",
        settings=_with_size(read),
        blocks=read_blocks(document["prompts"], "prompts", told),
        prompts=(),
        loras=read_loras(loras and loras.value, "settings.loras", told),
    )


def _workflow(document: Mapping[str, Any], name: str, told: ImportNotes) -> Export:
    told.unknown_keys([document], WORKFLOW_KEYS, "workflow")
    place, pipeline = _main_pipeline(document, name, told)
    params = read_settings(_map(pipeline.get("params"), f"{place}.params", told), f"{place}.params")
    timeline = _map(document.get("timeline"), "timeline", told)
    blocks = read_blocks(timeline.get("entries"), "timeline.entries", told)
    if blocks and document.get("prompts"):
        told.left_out("prompts", document["prompts"], "the timeline says what is shown")
    return Export(
        title=_workflow_title(document),
        settings=_with_size(params) | {"pipeline_id": Setting(f"{place}.pipeline_id", pipeline.get("pipeline_id"))},
        blocks=blocks,
        prompts=() if blocks else read_prompts(document.get("prompts"), "prompts", told),
        loras=read_loras(pipeline.get("loras"), f"{place}.loras", told),
    )


def _main_pipeline(document: Mapping[str, Any], name: str, told: ImportNotes) -> tuple[str, dict[str, Any]]:
    """The pipeline that renders; processors before and after it, and a second main one, are told."""
    pipelines = list(maps_in(document.get("pipelines"), "pipelines", told))
    told.unknown_keys((item for _, item in pipelines), PIPELINE_KEYS, "pipelines[]")
    main = next(((p, item) for p, item in pipelines if item.get("role", "main") == "main"), None)
    if main is None:
        raise JobError(f'{name}: no Scope export that renders: pipelines holds none with "role": "main"')
    for place, item in pipelines:
        if place != main[0]:
            told.left_out(
                f"{place}.pipeline_id", item.get("pipeline_id"), f"a {item.get('role', 'main')} beside {main[0]}"
            )
    source = main[1].get("source")
    kind = source.get("type") if isinstance(source, dict) else source
    if kind not in (None, OWN_PIPELINE):
        told.left_out(f"{main[0]}.source", source, "a job does not say where its pipeline comes from")
    return main


def _workflow_title(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    title = f"Scope workflow {document['format_version']}"
    if isinstance(known.get("name"), str):
        title += f" {shown(known['name'])}"
    if isinstance(known.get("created_at"), str):
        title += f", made {one_line(known['created_at'])}"
    if isinstance(known.get("scope_version"), str):
        title += f" with Scope {one_line(known['scope_version'])}"
    return title


def _with_size(settings: dict[str, Setting]) -> dict[str, Setting]:
    """`resolution` as height and width."""
    size = settings.pop("resolution", None)
    if size is None:
        return settings
    if not isinstance(size.value, dict):
        return settings | {"resolution": size}
    return settings | {
        key: Setting(f"{size.place}.{key}", value) for key, value in size.value.items() if value is not None
    }


def _map(value: Any, place: str, told: ImportNotes) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, dict):
        told.left_out(place, value, "not a map")
    return value if isinstance(value, dict) else {}
