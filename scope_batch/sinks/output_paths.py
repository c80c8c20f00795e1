"""The names that an output takes on the disk, and checks that they can be used; nothing is written here."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from scope_batch.errors import JobError, OutputError, OutputExistsError

SIDECAR_FORMATS = ("npy", "nut")
"""Formats that carry no text, or (NUT) none as long as a job, which is written beside them: NAME.EXT.json."""


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Any OSError inside becomes an OutputError that names `path`."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}") from error


def partial_path(path: Path) -> Path:
    """Name under which a valid but shorter file is kept: out.mp4 -> out.partial.mp4, %d.png -> %d.partial.png."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


def sidecar_path(path: Path) -> Path:
    """Name of the file that says what an array or a raw video was made from."""
    return path.with_name(f"{path.name}.json")


def has_sidecar(path: Path) -> bool:
    return path.suffix[1:].lower() in SIDECAR_FORMATS


def work_path(path: Path) -> Path:
    """The folder in which an output is made before it gets its name: out.mp4 -> .out.mp4.work."""
    return path.with_name(f".{path.name}.work")


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raises OutputExistsError if `path` exists and may not be replaced, JobError if it is no plain file."""
    with output_errors(path):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return
    if not stat.S_ISREG(mode):
        raise JobError(f"{path}: exists and is not a plain file, so it is not replaced")
    if not overwrite:
        raise OutputExistsError(f"{path}: exists; replace it with --overwrite")


def refuse_folder(path: Path) -> None:
    """Raises OutputError if `path` lies where no file of ours can be made; its folders need not exist yet."""
    folder = _existing_folder(path)
    if not folder.is_dir():
        raise OutputError(f"{path}: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: the folder {folder} cannot be written")


def refuse_long_names(path: Path, last_name: str) -> None:
    """Raises OutputError if the file system takes no name as long as the files made beside `path` need.

    last_name   the longest file name that the output itself takes: a sequence's is that of its last picture.
    """
    names = [partial_path(path.with_name(last_name)), work_path(path)]
    if has_sidecar(path):
        names.append(sidecar_path(partial_path(path)))
    longest = max((name.name for name in names), key=lambda name: len(os.fsencode(name)))
    folder = _existing_folder(path)
    with output_errors(path):
        most_in_name, most_in_path = os.pathconf(folder, "PC_NAME_MAX"), os.pathconf(folder, "PC_PATH_MAX")
    excess = len(os.fsencode(longest)) - most_in_name
    if excess > 0:
        raise OutputError(f"{path}: the name is {excess} bytes too long here: {longest} must fit {most_in_name} bytes")
    deepest = len(os.fsencode(work_path(path.absolute()) / last_name))
    if deepest >= most_in_path:
        raise OutputError(f"{path}: the path is too long: with its work folder {deepest} of {most_in_path - 1} bytes")


def _existing_folder(path: Path) -> Path:
    return next(parent for parent in path.absolute().parents if parent.exists())
