"""Accesses files at paths given by the user, and turns system errors into one line each."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scope_batch.errors import JobError, MissingInputError

_SHOWN_CHARACTERS = 200


@contextmanager
def reading(path: Path, named: str = "") -> Iterator[None]:
    """Turn system errors of calls that open or read `path` into errors of this package.

    named  the path's name in messages; the message about a missing file gives the whole path.
    Raises MissingInputError if there is no such file, JobError for every other error.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise MissingInputError(f"{shown(path)}: no such file or folder") from error
    except OSError as error:
        raise JobError(f"{named or shown(path)}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        if _can_be_a_name(path):
            raise
        raise JobError(f"{named or shown(path)}: is not a valid file name") from error


def status_of(path: Path) -> os.stat_result | None:
    """Return the status of `path`, following links; None if there is no such file.

    Raises JobError for an inaccessible path: a name that is too long, a folder without permission.
    """
    try:
        with reading(path):
            return path.stat()
    except MissingInputError:
        return None
    except JobError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOTDIR:
            return None
        raise


def is_file(path: Path) -> bool:
    """Return whether `path` is a regular file. Raises as `status_of`."""
    status = status_of(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def read_json(path: Path) -> Any:
    """Return the value in a small JSON file. Raises MissingInputError, or JobError if it cannot be read as JSON."""
    try:
        with reading(path):
            return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # from the parser: not JSON, not UTF-8, nested too deep
        raise JobError(f"{shown(path)}: not a readable JSON file") from error


def shown(path: Path) -> str:
    """Return the path for a message; the middle of a very long one is left out."""
    text = str(path)
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[: _SHOWN_CHARACTERS // 2]}...{text[-_SHOWN_CHARACTERS // 2 :]}"


def _can_be_a_name(path: Path) -> bool:
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def make_folders(folder: Path) -> list[Path]:
    """Create `folder` and its parents; returns those that were missing, the uppermost first."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    return missing[::-1]
