"""Compares existing outputs with a job: they are up to date if they are whole and were rendered from this very job.

What was verified once is remembered until a file changes, so that a long film is not decoded again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scope_batch.checkpoint.provenance import Difference, Texts, differences, listed
from scope_batch.core.canonical import canonical
from scope_batch.core.plan import Delivery, Plan
from scope_batch.errors import JobError, MissingInputError, OutputError
from scope_batch.files.remembered import files_state, recall, remember
from scope_batch.sinks.latents import read_latents_job
from scope_batch.sinks.metadata import ENVIRONMENT_ENTRY, FILM_ENTRY, MODELS_ENTRY, read_metadata
from scope_batch.sinks.output import (
    Output,
    has_files,
    has_sidecar,
    is_sequence,
    numbered,
    output_errors,
    picture_names,
    sidecar_path,
)
from scope_batch.sinks.output_set import SinkSettings
from scope_batch.sinks.sink import bytes_and_hash
from scope_batch.sinks.verify import verify_output

_KIND = "outputs"
_HIDDEN = "job_sha256"
_NAMES = {
    _HIDDEN: "a value that is stored only as a checksum, such as that of a variable",
    "generator": "version",
    MODELS_ENTRY: "model file",
    "inputs_sha256": "content of",
}
"""Entry of the metadata -> its name in messages."""
_NOT_COMPARED = ("job", "defaults", "bytes", "sha256", FILM_ENTRY, ENVIRONMENT_ENTRY)
"""Entries that follow from the others, or that another machine may write differently."""


def reasons_to_render(
    outputs: Sequence[Output], plan: Plan, settings: SinkSettings, known: Mapping[Path, Mapping[str, Any]] | None = None
) -> list[str]:
    """Return why the outputs are not what this job renders, a reason for each that is not; none if all are.

    known  path -> metadata of an output that is whole, but lies elsewhere.
    """
    if settings.metadata is None:
        return ["--no-metadata: nothing tells what job an output was made from"]
    expected = json.loads(settings.metadata)
    reasons = [reason for output in outputs if (reason := _reason(output, plan.delivery, expected, known or {}))]
    if settings.latents is not None and (reason := _latents_reason(settings.latents, expected)):
        reasons.append(reason)
    return reasons


def remember_outputs(outputs: Sequence[Output], plan: Plan, settings: SinkSettings) -> None:
    """Remember that these outputs, which have just been verified and published, hold this job."""
    if settings.metadata is None:
        return
    document = json.loads(settings.metadata)
    for output in outputs:
        if output.path is not None:
            _remember(output.path, files_state(_all_files(output.path)), _shape(plan.delivery), document)
    if settings.latents is not None:
        _remember(settings.latents, files_state([settings.latents.absolute()]), [], document)


def comparable(document: Mapping[str, Any]) -> Texts:
    """Return the metadata as one text for each value; the same texts mean the same frames.

    A folder of models counts by the content of its files, not by its name.
    """
    job = {**document.get("defaults", {}), **document.get("job", {})}
    job.pop("models", None)
    rest = {name: value for name, value in document.items() if name not in _NOT_COMPARED}
    parts = [*_flat("", job), *(pair for name, value in rest.items() for pair in _flat(_NAMES.get(name, name), value))]
    return {name: canonical(value) for name, value in parts}


def _reason(
    output: Output, delivery: Delivery, expected: Mapping[str, Any], elsewhere: Mapping[Path, Mapping[str, Any]]
) -> str:
    """Return why this output is not up to date, "" if it is."""
    path = output.path
    if path is None:
        return "standard output is written anew each time"
    if path in elsewhere:
        changed = _changed(elsewhere[path], expected)
        return f"{output.name} was made from another job: {changed}" if changed else ""
    if not has_files(path):
        return f"{output.name} is missing"
    state = files_state(_all_files(path))
    known = _recalled(path, state, _shape(delivery))
    first = numbered(path, 0) if output.format == "png" else path
    try:
        stored = known or read_metadata(first)
        if changed := _changed(stored, expected):
            return f"{output.name} was made from another job: {changed}"
        if known is None:
            with output_errors(path):
                if has_sidecar(path) and not bytes_and_hash(path).items() <= stored.items():
                    return f"{output.name} was changed after it was rendered"
            verify_output(output, delivery.frames, delivery.height, delivery.width)
            _remember(path, state, _shape(delivery), stored)
    except (OutputError, JobError, MissingInputError) as error:
        return str(error)
    return ""


def _latents_reason(path: Path, expected: Mapping[str, Any]) -> str:
    state = files_state([path.absolute()])
    if state is None:
        return f"{path} is missing"
    stored = _recalled(path, state, [])
    if stored is None:
        if (text := read_latents_job(path)) is None:
            return f"{path} holds no job, or was changed after it was rendered"
        stored = json.loads(text)
        _remember(path, state, [], stored)
    changed = _changed(stored, expected)
    return f"{path} was made from another job: {changed}" if changed else ""


def _changed(stored: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Name the values in which the job of an output differs from the job to be rendered, "" if in none."""
    return listed(changes(stored, expected))


def changes(stored: Mapping[str, Any], expected: Mapping[str, Any]) -> list[Difference]:
    """Return the values in which the metadata `stored` of an output differ from those of the job to be rendered."""
    if MODELS_ENTRY not in expected and "models" not in stored.get(MODELS_ENTRY, {}):
        # The folder of models is gone, or the pipeline has none: it takes no part in the comparison. Tiny models need
        # no folder, and never equal one.
        stored = {name: value for name, value in stored.items() if name != MODELS_ENTRY}
    changed = differences(comparable(stored), comparable(expected))
    return [difference for difference in changed if difference.field != _NAMES[_HIDDEN]] or changed


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each value inside lists and mappings with its place: "chunk_specs[0].text", "content of input_path"."""
    if isinstance(value, dict) and value:
        mark = " " if name in _NAMES.values() else "."
        for key, entry in value.items():
            yield from _flat(f"{name}{mark}{key}" if name else key, entry)
    elif isinstance(value, list) and value:
        for index, entry in enumerate(value):
            yield from _flat(f"{name}[{index}]", entry)
    else:
        yield name, value


def _all_files(path: Path) -> list[str]:
    """Return every file that belongs to an output, also one that is missing."""
    path = path.absolute()
    if is_sequence(path):
        folder = f"{path.parent}{os.sep}"  # texts: ten thousand paths take long
        return [folder + name for name in sorted(picture_names(path))]
    return [str(path), *([str(sidecar_path(path))] if has_sidecar(path) else [])]


def _shape(delivery: Delivery) -> list[int]:
    return [delivery.frames, delivery.height, delivery.width]


def _recalled(path: Path, state: bytes | None, shape: list[int]) -> dict[str, Any] | None:
    """Return the metadata of an output that was verified in this state, with frames of this number and size."""
    data = recall(_KIND, path, state)
    fact = {} if data is None else json.loads(data)
    return fact["document"] if fact.get("shape") == shape else None


def _remember(path: Path, state: bytes | None, shape: list[int], document: Mapping[str, Any]) -> None:
    remember(_KIND, path, state, json.dumps({"shape": shape, "document": document}).encode())
