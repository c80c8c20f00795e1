"""Formats the output of `models`: lines for people, values for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal
from rich.text import Text

from scope_batch.models.folder import pull_command
from scope_batch.models.hub import licence_of, page_of
from scope_batch.models.listing import ListedFile, ListedPipeline, is_ready

if TYPE_CHECKING:
    from scope_batch.models.check import FileCheck
    from scope_batch.models.folder import ModelsFolder
    from scope_batch.models.pull import Fetch

STYLES = {"ok": "green", "present": "green", "missing": "yellow", "unknown": "yellow", "wrong": "red"}


def listing_lines(place: ModelsFolder, pipelines: Sequence[ListedPipeline]) -> Iterator[Text]:
    yield Text(f"models folder: {place.path} ({place.why})")
    for pipeline in pipelines:
        package = f" ({pipeline.package})" if pipeline.package else ""
        yield Text.assemble("\n", (pipeline.id, "bold"), f"  {pipeline.summary}{package}")
        if pipeline.problem:
            yield Text.assemble("  ", ("cannot be used: ", "red"), pipeline.problem)
        files = pipeline.files
        rows = [(_presence(f), str(f.artifact.local), _size(f.size_bytes), _needed_for(f), _licence(f)) for f in files]
        yield from _columns(rows)
        yield from (Text(f"  {line}", "yellow") for line in _terms(files))
        if not is_ready(files):
            yield Text(f"  fetch the missing files with: {pull_command(pipeline.id, place.path)}")
        elif pipeline.needs_models and not files:
            yield Text("  manages its own model files")


def listing_values(
    place: ModelsFolder, pipelines: Sequence[ListedPipeline], processors: Sequence[ListedPipeline]
) -> dict[str, Any]:
    found = {"pipelines": _values_of(pipelines), "processors": _values_of(processors)}
    return {"folder": str(place.path), "why": place.why, **found}


def _values_of(pipelines: Sequence[ListedPipeline]) -> list[dict[str, Any]]:
    return [
        {
            "id": pipeline.id,
            "summary": pipeline.summary,
            "package": pipeline.package,
            "problem": pipeline.problem,
            "ready": pipeline.ready,
            "files": [_listed_values(file) for file in pipeline.files],
        }
        for pipeline in pipelines
    ]


def check_lines(folder: Path, checks: Sequence[FileCheck], pull: str) -> Iterator[Text]:
    """`pull`: the command that fetches the missing files."""
    yield Text(f"model files in {folder}")
    yield from _columns([(check.state, str(check.artifact.local), _size(check.size_bytes)) for check in checks])
    for check in checks:
        if check.state in ("wrong", "unknown"):
            yield Text.assemble((f"{check.state}: ", STYLES[check.state]), check.problem)
        yield from (Text.assemble(("warning: ", "yellow"), warning) for warning in check.warnings)
    states = {check.state for check in checks}
    if "wrong" in states:
        yield Text("delete a wrong file and fetch it again")
    if states & {"wrong", "missing"}:
        yield Text(f"fetch the missing files with: {pull}")


def check_values(pipeline: str, folder: Path, checks: Sequence[FileCheck], *, ok: bool) -> dict[str, Any]:
    files = [
        {
            "path": str(check.artifact.local),
            "role": check.artifact.role,
            "state": check.state,
            "size_bytes": check.size_bytes,
            "problem": check.problem,
            "warnings": list(check.warnings),
        }
        for check in checks
    ]
    return {"pipeline": pipeline, "folder": str(folder), "ok": ok, "files": files}


def fetch_line(fetch: Fetch) -> str:
    licence = licence_of(fetch.repo)
    files = f"{fetch.files} file{'s' * (fetch.files != 1)}, {decimal(fetch.size_bytes)}"
    return f"{fetch.repo}: {files}, to {fetch.target}; licence {licence.name}: {licence.words}"


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[Text]:
    """Align the cells of the rows. The first cell is a state, shown in its colour."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for state, *cells in rows:
        rest = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths[1:], strict=True))
        yield Text.assemble("  ", (state.ljust(widths[0]), STYLES[state]), f"  {rest}".rstrip())


def _presence(file: ListedFile) -> str:
    return "missing" if file.size_bytes is None else "present"


def _size(size_bytes: int | None) -> str:
    return "" if size_bytes is None else decimal(size_bytes)


def _needed_for(file: ListedFile) -> str:
    return f"for {file.needed_for}" if file.needed_for else ""


def _licence(file: ListedFile) -> str:
    return f"licence {licence_of(file.artifact.repo).name}"


def _terms(files: Sequence[ListedFile]) -> Iterator[str]:
    """Yield the terms of each repository whose licence restricts commercial use."""
    for repo in dict.fromkeys(file.artifact.repo for file in files):
        licence = licence_of(repo)
        if not licence.commercial:
            yield f"{repo}: {licence.words} ({page_of(repo)})"


def _listed_values(file: ListedFile) -> dict[str, Any]:
    licence = licence_of(file.artifact.repo)
    return {
        "path": str(file.artifact.local),
        "role": file.artifact.role,
        "needed_for": file.needed_for,
        "present": file.size_bytes is not None,
        "size_bytes": file.size_bytes,
        "repo": file.artifact.repo,
        "page": page_of(file.artifact.repo),
        "licence": licence.name,
        "commercial_use": licence.commercial,
    }
