"""`sheet`: writes a contact sheet of a film."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scope_batch.cli.documents import print_text
from scope_batch.errors import OutputExistsError, UsageError
from scope_batch.files.urls import is_url

Film = Annotated[
    str,
    typer.Argument(
        metavar="FILM",
        help="A video, an array, a folder or pattern of pictures, or - (an NPY stream; needs -o and --every).",
    ),
]
SheetOutput = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="The picture (.png); by default the film's name with .png."),
]
Every = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Show every N-th frame; by default 48 or fewer, evenly spread.")
]
Columns = Annotated[int, typer.Option(min=1, max=64, help="Frames in a row.")]
ReplaceSheet = Annotated[bool, typer.Option("-y", "--overwrite", help="Replace the picture.")]


def sheet(
    film: Film,
    output: SheetOutput = None,
    every: Every = None,
    columns: Columns = 6,
    overwrite: ReplaceSheet = False,
) -> None:
    """Write a contact sheet of a film, with the borders of its chunks and its prompts."""
    if film == "-" and (output is None or every is None):
        raise UsageError(
            "a film from standard input has no name and no length: -o FILE says where to write, "
            "and --every N how many frames to show"
        )
    path = output or default_path(film, ".png")
    if path.suffix.lower() != ".png":
        raise UsageError(f"-o {path}: must end in .png")
    refuse_existing_file(path, overwrite=overwrite)
    from scope_batch.files.access import make_folders
    from scope_batch.golden.streams import open_stream
    from scope_batch.review.sheet import contact_sheet
    from scope_batch.sinks.output import output_errors

    with open_stream(film) as frames:
        picture = contact_sheet(frames, every=every, columns=columns)
    with output_errors(path):
        make_folders(path.parent)
        picture.save(path)
    print_text(f"wrote {path}\n")


def default_path(film: str, suffix: str) -> Path:
    """Return where the sheet or report of a film goes by default: beside it, or for a URL
    in the working directory. Raises UsageError if it has no name."""
    path = Path(film.rpartition("/")[2] if is_url(film) else film)
    if film == "-":
        raise UsageError("a film from standard input has no name: -o says where to write")
    if "%" in path.name or path.suffix.lower() == suffix:
        path = path.parent  # a sequence of pictures, or a picture itself
    if not path.name:
        raise UsageError(f"{film}: -o says where to write")
    return path.with_suffix(suffix)


def refuse_existing_file(path: Path, *, overwrite: bool) -> None:
    """Raise OutputExistsError for a file that exists, unless it may be replaced."""
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists; -y replaces it")
