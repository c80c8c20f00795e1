"""Checks the model files of each pipeline and each processor by their headers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from scope_batch.doctor.finding import Finding
from scope_batch.models.check import Checker, FileCheck, all_ok, check_processor
from scope_batch.models.folder import models_place, pull_command
from scope_batch.models.layout import VAES
from scope_batch.models.listing import DEFAULT_VAE, FOR_VACE, ListedPipeline, for_vae, list_pipelines, list_processors

OWN = ("backbone", "builtin_lora")
"""Roles of files that no other pipeline reads. A pipeline without any of them is not installed."""


def check(models: str | None) -> Iterator[Finding]:
    place = models_place(models)
    if not place.path.is_dir():
        text = f"no folder {place.path} ({place.why}): only --models tiny renders"
        yield Finding("models", "warn", text, pull_command("longlive", place.path))
        return
    yield Finding("models", "ok", f"{place.path} ({place.why})", values={"folder": str(place.path)})
    checker, reported = Checker(place.path), set[Path]()
    for pipeline in list_pipelines(place.path):
        if pipeline.files:
            checks = _checks(checker, pipeline)
            yield from _wrong([check for check in checks if check.path not in reported])
            yield _summary(pipeline.id, checks, place.path)
            reported |= {check.path for check in checks}
    for processor in list_processors(place.path):
        if processor.files:
            checks = check_processor(place.path, [file.artifact for file in processor.files])
            yield from _wrong(checks)
            yield _processor_summary(processor.id, checks, place.path)


def _checks(checker: Checker, pipeline: ListedPipeline) -> tuple[FileCheck, ...]:
    """Check the files that every job needs, and optional files that are present."""
    options = {file.needed_for for file in pipeline.files if file.size_bytes is not None}
    vae_types = [name for name in VAES if for_vae(name) in options] or [DEFAULT_VAE]
    results = [checker.check(pipeline.id, vae_type=name, vace=FOR_VACE in options) for name in vae_types]
    return tuple({check.path: check for checks in results for check in checks}.values())


def _wrong(checks: Sequence[FileCheck]) -> Iterator[Finding]:
    for check in checks:
        values = {"path": str(check.path), "state": check.state}
        if check.state == "wrong":
            yield Finding("models", "fault", check.problem, "delete it and pull it again", values)
        elif check.state == "unknown":
            yield Finding("models", "warn", check.problem, values=values)
        for warning in check.warnings:
            yield Finding("models", "warn", warning, values=values)


def _processor_summary(name: str, checks: Sequence[FileCheck], folder: Path) -> Finding:
    missing = [str(check.artifact.local) for check in checks if check.state == "missing"]
    values = {"processor": name, "ready": all_ok(checks), "missing": missing}
    if missing:
        started = len(missing) < len(checks)
        text = f"processor {name}: {'incomplete' if started else 'not installed'}: missing {', '.join(missing)}"
        return Finding("models", "fault" if started else "warn", text, pull_command(name, folder), values)
    if not all_ok(checks):
        return Finding("models", "warn", f"processor {name}: all files are present, but not all are valid", "", values)
    return Finding("models", "ok", f"processor {name}: complete", values=values)


def _summary(pipeline_id: str, checks: Sequence[FileCheck], folder: Path) -> Finding:
    states = {check.path: check.state for check in checks}
    missing = [str(check.artifact.local) for check in checks if check.state == "missing"]
    values = {"pipeline": pipeline_id, "ready": set(states.values()) == {"ok"}, "missing": missing}
    if not missing:
        if not values["ready"]:
            text = f"{pipeline_id}: all files are present, but not all are valid"
            return Finding("models", "warn", text, values=values)
        if VAES[DEFAULT_VAE] not in {check.artifact for check in checks}:
            text = f"{pipeline_id}: complete except for the default VAE (vae_type: {DEFAULT_VAE})"
            return Finding("models", "warn", text, pull_command(pipeline_id, folder), values)
        return Finding("models", "ok", f"{pipeline_id}: complete", values=values)
    started = any(check.artifact.role in OWN and check.state != "missing" for check in checks)
    text = f"{pipeline_id}: {'incomplete' if started else 'not installed'}: missing {', '.join(missing)}"
    return Finding("models", "fault" if started else "warn", text, pull_command(pipeline_id, folder), values)
