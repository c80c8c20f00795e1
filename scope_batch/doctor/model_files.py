"""Model files, pipeline by pipeline, from their headers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from scope_batch.doctor.finding import Finding
from scope_batch.models.check import Checker, FileCheck
from scope_batch.models.folder import models_place, pull_command
from scope_batch.models.layout import VAES
from scope_batch.models.listing import DEFAULT_VAE, FOR_VACE, for_vae, list_files
from scope_batch.pipelines import PIPELINES, PipelineSpec

OWN = ("backbone", "builtin_lora")
"""Roles of files that no other pipeline reads: with none of them, nobody has tried to install it."""


def look(asked: str | None) -> Iterator[Finding]:
    place = models_place(asked)
    if not place.path.is_dir():
        text = f"no folder {place.path} ({place.why}): only --models tiny renders"
        yield Finding("models", "warn", text, pull_command("longlive", place.path))
        return
    yield Finding("models", "ok", f"{place.path} ({place.why})", values={"folder": str(place.path)})
    checker, told = Checker(place.path), set[Path]()
    for spec in PIPELINES.values():
        if spec.needs_models:
            checks = _checks(checker, spec)
            yield from _wrong([check for check in checks if check.path not in told])
            yield _summary(spec, checks, place.path)
            told |= {check.path for check in checks}


def _checks(checker: Checker, spec: PipelineSpec) -> tuple[FileCheck, ...]:
    """Of what every job needs, and of whatever else is there."""
    present = [file for file in list_files(spec.id, checker.folder, vace=spec.vace) if file.size_bytes is not None]
    options = {file.needed_for for file in present}
    vae_types = [name for name in VAES if for_vae(name) in options] or [DEFAULT_VAE]
    found = [checker.check(spec.id, vae_type=name, vace=FOR_VACE in options) for name in vae_types]
    return tuple({check.path: check for checks in found for check in checks}.values())


def _wrong(checks: Sequence[FileCheck]) -> Iterator[Finding]:
    for check in checks:
        values = {"path": str(check.path), "state": check.state}
        if check.state == "wrong":
            yield Finding("models", "fault", check.problem, "delete it and pull it again", values)
        elif check.state == "unknown":
            yield Finding("models", "warn", check.problem, values=values)
        for warning in check.warnings:
            yield Finding("models", "warn", warning, values=values)


def _summary(spec: PipelineSpec, checks: Sequence[FileCheck], folder: Path) -> Finding:
    states = {check.path: check.state for check in checks}
    missing = [str(check.artifact.local) for check in checks if check.state == "missing"]
    values = {"pipeline": spec.id, "ready": set(states.values()) == {"ok"}, "missing": missing}
    if not missing:
        sound = "complete" if values["ready"] else "all files are there, not all of them are sound"
        return Finding("models", "ok" if values["ready"] else "warn", f"{spec.id}: {sound}", values=values)
    started = any(check.artifact.role in OWN and check.state != "missing" for check in checks)
    text = f"{spec.id}: {'incomplete' if started else 'not here'}: missing {', '.join(missing)}"
    return Finding("models", "fault" if started else "warn", text, pull_command(spec.id, folder), values)
