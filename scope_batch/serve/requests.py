"""Translates a request of the batch protocol into a job whose paths are files of this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from scope_batch.core.geometry import PROTOCOL_SLOT_FRAMES
from scope_batch.errors import JobError, MissingInputError, ProblemsError
from scope_batch.job import Job
from scope_batch.job.faults import Loc, shown
from scope_batch.job.legacy import fold_first_revision
from scope_batch.job.load import parse_job
from scope_batch.job.paths import with_paths
from scope_batch.job.positions import Source, show
from scope_batch.job.problems import MODELS
from scope_batch.job.schema import DEFAULT_NOISE_SCALE
from scope_batch.render.prepare import refused_fields
from scope_batch.serve.roots import Root
from scope_batch.serve.uploads import Uploads

MAX_FRAMES = 10_000
MAX_LEVELS = 50
"""Deepest nesting of lists and maps in a request."""
NOT_SERVED = frozenset(("models", "output", "video", "keep_state"))
"""Fields of a job that only its own machine may set."""
SEED_STEPS = {"longlive": [1000, 750, 500, 250], "streamdiffusionv2": [750, 250]}
"""The protocol's denoising steps, where they are not the pipeline's own in every mode."""
_FOLDERS = re.compile(r"(?<![\w./:])/(?:[^\s/:,;'\"]+/)+")
SHAPES = {"vace_frames": 2, "vace_masks": 2, "input_video": 0}
"""Arrays in the data blob, with the axis of frames in their shape."""


class NamedFiles(Protocol):
    """Says which file a name stands for."""

    def path_of(self, name: str, field_name: str) -> Path: ...


@dataclass(frozen=True, slots=True)
class Files:
    """What a client may name: uploads by handle, other inputs by name under `assets`, LoRAs under `loras`."""

    uploads: Uploads
    assets: Root
    loras: Root

    def path_of(self, name: str, field_name: str) -> Path:
        """Return the file of a name that stands in a field. Raises JobError or MissingInputError."""
        if field_name == "lora_scales":
            return self.loras.path_of(name)
        if field_name == "data_blob_path":
            return self.uploads.path_of(name, "data")
        if field_name == "input_path" and name.startswith("video-"):
            return self.uploads.path_of(name, "video")
        return self.assets.path_of(name)


@dataclass(slots=True)
class Translation:
    """A request as a job.

    fields    the job's fields as JSON values, with paths of this machine.
    warnings  what was left out, one line each.
    names     path of this machine -> the client's name for it, for messages.
    """

    fields: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)


def public_text(text: str, names: Mapping[str, str]) -> str:
    """Return a message with the client's names in place of paths, and without the folders of other paths."""
    for path in sorted(names, key=len, reverse=True):
        text = text.replace(path, names[path])
    return _FOLDERS.sub("", text)


def in_client_words(error: ProblemsError, names: Mapping[str, str]) -> ProblemsError:
    """Return the error with every line as `public_text` makes it."""
    return type(error)(*(public_text(line, names) for line in error.problems), more=error.more)


def read_body(data: bytes) -> dict[str, Any]:
    """Parse the body of a request. Raises JobError unless it is one JSON object that can be a job."""
    try:
        body = json.loads(data, parse_constant=_no_constant, object_pairs_hook=_distinct)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise JobError(f"body: is not JSON as a job allows it: {error}") from None
    if not isinstance(body, dict):
        raise JobError("body: must be a map of fields")
    check_content(body)
    return body


def check_content(body: dict[str, Any]) -> None:
    """Raise JobError for fields that nest deeper than any job does, or whose texts are no Unicode."""
    level: list[Any] = [body]
    texts: list[str] = []
    for _ in range(MAX_LEVELS):
        for value in level:
            texts += value if isinstance(value, dict) else ()
        items = [item for value in level for item in (value.values() if isinstance(value, dict) else value)]
        texts += [item for item in items if isinstance(item, str)]
        level = [item for item in items if isinstance(item, (dict, list))]
    if level:
        raise _too_deep()
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        half = shown(error.object[error.start])
        raise JobError(f"body: {half} is half of a character; write the character itself") from None


def _too_deep() -> JobError:
    return JobError(f"body: has more than {MAX_LEVELS} levels of lists and maps")


def translate(body: Mapping[str, Any], defaults: Mapping[str, Any], files: Files) -> tuple[Job, Translation]:
    """Return the job of a request.

    defaults  fields that hold where the request has none, as they were given when the pipeline was loaded; the keys of
              their `lora_scales` are paths of this machine.
    Raises JobError or MissingInputError with one line per problem, in the client's words.
    """
    result = Translation({})
    known = _known_only(body, "", (), result.warnings)
    fields = {name: value for name, value in known.items() if value is not None}
    _drop_empty_arrays(fields)
    resolve(fields, files, result)
    _add_defaults(fields, defaults)
    _drop_late_chunks(fields, result.warnings)
    result.fields = fields
    try:
        job = parse_job(fields, Source(name="request"))
    except ProblemsError as error:
        raise in_client_words(error, result.names) from None
    if isinstance(job.num_frames, int) and job.num_frames > MAX_FRAMES:
        raise JobError(f"num_frames: must be at most {MAX_FRAMES} over HTTP, not {job.num_frames}")
    return job, result


def without_refused_fields(job: Job, translation: Translation) -> Job:
    """Return the job without fields that its pipeline or mode cannot honour, with a warning each: the protocol's server
    ignored them, so its clients send them.

    Raises MissingInputError or JobError, in the words of this machine, for an input that cannot be read.
    """
    while refused := refused_fields(job):
        translation.fields = fold_first_revision(translation.fields)[0]
        for loc, reason in refused:
            holder: Any = translation.fields
            for key in loc[:-1]:
                holder = holder[key]
            del holder[loc[-1]]
            holder.pop(str(loc[-1]).replace("_offset", "_shape"), None)
            translation.warnings.append(f"{show(loc)}: cannot be honoured, ignored: {reason}")
        job = parse_job(translation.fields, Source(name="request"))
    return job


def _known_only(value: Mapping[str, Any], name: str, loc: Loc, warnings: list[str]) -> dict[str, Any]:
    """Return the map without keys that its model does not have. `name`: the field that holds it, "" for the request."""
    model: type[BaseModel] = MODELS[name]
    kept: dict[str, Any] = {}
    for key, inner in value.items():
        if key not in model.model_fields or (not name and key in NOT_SERVED):
            warnings.append(f"{show((*loc, key))}: {'not served' if key in NOT_SERVED else 'unknown key'}, ignored")
        elif key in MODELS and isinstance(inner, Mapping):
            kept[key] = _known_only(inner, key, (*loc, key), warnings)
        elif key in MODELS and isinstance(inner, list):
            kept[key] = [
                _known_only(item, key, (*loc, key, index), warnings) if isinstance(item, Mapping) else item
                for index, item in enumerate(inner)
            ]
        else:
            kept[key] = inner
    return kept


def _entries(fields: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    entries = fields.get("chunk_specs")
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict):
            yield index, entry


def _drop_empty_arrays(fields: Mapping[str, Any]) -> None:
    """Leave out arrays of no frames: a client that cuts a clip into slots sends them behind its end."""
    for _, entry in _entries(fields):
        for name, axis in SHAPES.items():
            shape = entry.get(f"{name}_shape")
            if isinstance(shape, list) and len(shape) > axis and shape[axis] == 0:
                del entry[f"{name}_shape"]
                entry.pop(f"{name}_offset", None)


def _drop_late_chunks(fields: dict[str, Any], warnings: list[str]) -> None:
    frames = fields.get("num_frames", Job.model_fields["num_frames"].default)
    if type(frames) is not int or fields["chunk_grid"] != PROTOCOL_SLOT_FRAMES:
        return
    slots = -(-frames // PROTOCOL_SLOT_FRAMES)
    late = {index: entry["chunk"] for index, entry in _entries(fields) if _is_late(entry.get("chunk"), slots)}
    for index, chunk in late.items():
        warnings.append(f"chunk_specs[{index}].chunk: {chunk} is out of range, ignored; the last one is {slots - 1}")
    if late:
        fields["chunk_specs"] = [entry for index, entry in enumerate(fields["chunk_specs"]) if index not in late]


def _is_late(chunk: Any, slots: int) -> bool:
    return type(chunk) is int and chunk >= slots


def _add_defaults(fields: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    """Add what the protocol's server assumes, and what was given when the pipeline was loaded."""
    if fields.get("noise_scale") == DEFAULT_NOISE_SCALE:
        del fields["noise_scale"]  # clients send it without meaning it
    loras = fields.get("lora_scales", {})
    if isinstance(loras, dict) and (at_load := defaults.get("lora_scales")):
        fields["lora_scales"] = {**at_load, **loras}
    for name, value in defaults.items():
        fields.setdefault(name, value)
    fields.setdefault("chunk_grid", PROTOCOL_SLOT_FRAMES)
    pipeline_id = fields.get("pipeline_id", Job.model_fields["pipeline_id"].default)
    if isinstance(pipeline_id, str) and pipeline_id in SEED_STEPS:
        fields.setdefault("denoising_steps", SEED_STEPS[pipeline_id])


def resolve(fields: dict[str, Any], files: NamedFiles, result: Translation) -> None:
    """Replace every name of a file by its path. Raises one error with a line for every name that has none."""
    problems: list[str] = []
    kinds: set[type[ProblemsError]] = set()

    def refuse(loc: Loc, _: str, error: ProblemsError) -> None:
        kinds.add(type(error))
        problems.append(f"{show(loc)}: {error}")

    fields.update(resolved(fields, files, result.names, refuse))
    if problems:
        raise (MissingInputError if kinds == {MissingInputError} else JobError)(*problems)


def resolved(
    fields: Mapping[str, Any],
    files: NamedFiles,
    names: dict[str, str],
    refuse: Callable[[Loc, str, ProblemsError], None],
    renamed: Callable[[Loc, str, str], None] = lambda _loc, _name, _path: None,
) -> dict[str, Any]:
    """Return the fields with paths in place of names, and note the name of each path in `names`.

    refuse   is called with the place, the name and the error of a name without a file, and of a second name that one
             map of LoRAs has for a file.
    renamed  is called with the place of a map of LoRAs, the name of one and its path.
    """
    in_maps: set[tuple[Loc, str]] = set()

    def path_of(name: str, field_name: str, loc: Loc) -> str:
        try:
            path = str(files.path_of(name, field_name))
        except (JobError, MissingInputError) as error:
            refuse(loc, name, error)
            return name
        if field_name == "lora_scales":
            renamed(loc, name, path)
            if (loc, path) in in_maps:
                refuse(loc, name, JobError(f"{shown(name)}: the file is listed twice"))
            in_maps.add((loc, path))
        names[path] = name
        return path

    return {key: with_paths(value, key, (key,), path_of) for key, value in fields.items()}


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key stands twice in one map")
    return fields
