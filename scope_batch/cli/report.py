"""`report`: writes a film as one HTML page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scope_batch.cli.documents import print_text, write_text
from scope_batch.cli.sheet import Film, default_path, refuse_existing_file
from scope_batch.errors import JobError, MissingInputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

PageOutput = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="The page (.html); by default the film's name with .html."),
]
ProgressLines = Annotated[
    Path | None,
    typer.Option("--progress-file", metavar="FILE", help="JSON progress of the render: tells how long chunks took."),
]
ReplacePage = Annotated[bool, typer.Option("-y", "--overwrite", help="Replace the page.")]


def report(
    film: Film, output: PageOutput = None, progress_file: ProgressLines = None, overwrite: ReplacePage = False
) -> None:
    """Write a film as one HTML page: contact sheet, prompts, curves from chunk to chunk, and the job to copy."""
    if film == "-":
        raise UsageError("a report needs a film in a file")
    path = output or default_path(film, ".html")
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"-o {path}: must end in .html")
    refuse_existing_file(path, overwrite=overwrite)
    seconds = {} if progress_file is None else _seconds(progress_file)
    from scope_batch.golden.streams import carried_metadata, open_stream
    from scope_batch.review.observer import Observer
    from scope_batch.review.report import Review, html_page
    from scope_batch.review.sheet import contact_sheet
    from scope_batch.storage.fetch import fetch_argument

    copy = Path(fetch_argument(film))
    with open_stream(str(copy)) as frames:
        observer = Observer(frames.map)
        frames.frames = observer.watching(frames.frames)
        sheet = contact_sheet(frames)
        source = frames.source
        assert source is not None
        review = Review(
            name=Path(film).name,
            frames=source.frames,
            size=(source.height, source.width),
            sheet=sheet,
            figures=observer.figures,
            map=frames.map,
            switches=observer.switches(),
            seconds=seconds,
            job=_job_text(carried_metadata(copy)),
        )
    write_text(html_page(review), path, overwrite=overwrite)
    print_text(f"wrote {path}\n")


def _job_text(document: Mapping[str, object]) -> str:
    job = document.get("job")
    if not job:
        return ""
    import yaml

    written: str = yaml.safe_dump(job, sort_keys=False, allow_unicode=True, width=100)
    return written


def _seconds(path: Path) -> dict[int, float]:
    """Return how long each chunk took, from JSON progress. Raises MissingInputError, or JobError for another file."""
    from scope_batch.files.access import is_file

    if not is_file(path):
        raise MissingInputError(f"--progress-file {path}: no such file")
    seconds: dict[int, float] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                event = json.loads(line)
                if event["event"] == "chunk":
                    seconds[int(event["chunk"])] = float(event["seconds"])
    except OSError as error:
        raise JobError(f"--progress-file {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise JobError(f"--progress-file {path}: is no JSON progress of a render") from error
    return seconds
