"""The program: runs a verb, prints what went wrong, returns the exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import TextIO, cast

from scope_batch.cli.app import app
from scope_batch.cli.console import print_errors
from scope_batch.cli.error_boundary import Boundary
from scope_batch.progress import Nowhere, TolerantStream


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (those of the process by default); returns the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name or a prompt that the terminal's encoding lacks is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    if cast("TextIO | None", sys.stderr) is None:  # closed by the caller (`2>&-`)
        sys.stderr = Nowhere()
    stderr = TolerantStream(sys.stderr)
    code: int | None = None
    with Boundary(lambda report: print_errors(stderr, report)) as boundary:
        code = app(
            list(sys.argv[1:] if arguments is None else arguments), "scope-batch", standalone_mode=False, obj=boundary
        )
        _flush(sys.stdout)
    _settle(sys.stdout)
    _settle(sys.stderr)
    return boundary.exit_code or code or 0


def _flush(stream: TextIO | None) -> None:
    if stream is not None:
        stream.flush()


def _settle(stream: TextIO) -> None:
    """What is buffered for a reader that has gone must not fail once more when the interpreter ends."""
    try:
        _flush(stream)
    except OSError:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, stream.fileno())
        os.close(devnull)


if __name__ == "__main__":
    sys.exit(main())
