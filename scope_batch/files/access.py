"""Calls the file system on paths that a user wrote, and turns its errors into one line each."""

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
    """Around calls that open or read `path`: the system's errors become ours.

    named  what messages call it; one about its absence gives the whole path.
    Raises MissingInputError where nothing is there, JobError for every other fault.
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
        raise JobError(f"{named or shown(path)}: is no name that a file can have") from error


def status_of(path: Path) -> os.stat_result | None:
    """What the system knows of `path`, links followed; None where nothing is there.

    Raises JobError for a path that cannot be looked at: a name that is too long, a folder that may not be entered.
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
    """Whether a plain file is there. Raises as `status_of`."""
    found = status_of(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def read_json(path: Path) -> Any:
    """The value in a small JSON file. Raises MissingInputError, or JobError where it is none or cannot be read."""
    try:
        with reading(path):
            return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # of the parser: no JSON, not UTF-8, nested too deep
        raise JobError(f"{shown(path)}: not a readable JSON file") from error


def shown(path: Path) -> str:
    """The path for a message, its middle left out where it is very long."""
    text = str(path)
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[: _SHOWN_CHARACTERS // 2]}...{text[-_SHOWN_CHARACTERS // 2 :]}"


def _can_be_a_name(path: Path) -> bool:
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False
