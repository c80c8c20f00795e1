"""The errors a user can meet, each with the exit code that a script may rely on.

ScopeBatchError
├── UsageError         2  the command line contradicts itself
├── JobError          65  the job file, an input or a checkpoint is wrong; nothing was rendered
├── MissingInputError 66  a file that the job names does not exist
├── UnavailableError  69  no suitable device, model files missing, out of device memory in the first chunk
│   └── NoDeviceError     this machine does not have the device
├── OutputExistsError 73  the output exists and may not be replaced
├── OutputError       74  an I/O error, a full disk, an encoder that could not write
├── ClosedPipeError  141  whoever read standard output has gone
├── TemporaryError    75  a killed encoder, a lock held by another process: retry
│   └── DeviceFaultError  the device failed
├── DegradedError     76  a chunk met a condition of the job's `stop_if`; what was rendered is kept
├── TimeLimitError   124  `--timeout` ran out
└── Interrupted  130/143  a signal; what was rendered is kept

Messages are one line, say where, what, and what is allowed, and carry no traceback. A fault that is none of these is a
bug: exit code 70.
"""

from __future__ import annotations

import signal
from functools import partial
from typing import Any

EXIT_OK = 0
EXIT_CHECK_FAILED = 1
EXIT_USAGE = 2
EXIT_BUG = 70

MAX_PROBLEMS = 50
"""Most problems of one job that are listed; the others are only counted."""


class ScopeBatchError(Exception):
    """Base of every error that is meant for the user. `exit_code` is the process's exit status."""

    exit_code = EXIT_BUG


class UsageError(ScopeBatchError):
    exit_code = EXIT_USAGE


class ProblemsError(ScopeBatchError):
    """Holds one line per problem, at most MAX_PROBLEMS of them; `more` = how many others there are."""

    def __init__(self, *problems: str, more: int = 0) -> None:
        self.problems = problems[:MAX_PROBLEMS]
        self.more = more + len(problems) - len(self.problems)
        rest = (f"and {self.more} more problem{'s' if self.more > 1 else ''}",) if self.more else ()
        super().__init__("\n".join((*self.problems, *rest)))


class JobError(ProblemsError):
    """Bad job or asset. Its problems are in the order in which they stand in the file."""

    exit_code = 65


class MissingInputError(ProblemsError):
    exit_code = 66


class UnavailableError(ScopeBatchError):
    exit_code = 69


class NoDeviceError(UnavailableError):
    """This machine does not have the device."""


class OutputExistsError(ScopeBatchError):
    exit_code = 73


class OutputError(ScopeBatchError):
    exit_code = 74


class TemporaryError(ScopeBatchError):
    exit_code = 75


class DeviceFaultError(TemporaryError):
    """The device failed; another one may continue from the last saved state."""


class DegradedError(ScopeBatchError):
    """A chunk met a condition of the job's `stop_if`; what was rendered is kept."""

    exit_code = 76


class TimeLimitError(ScopeBatchError):
    exit_code = 124


class ClosedPipeError(ScopeBatchError):
    """Standard output was closed by its reader, as SIGPIPE tells a C program."""

    exit_code = 128 + signal.SIGPIPE


class Interrupted(ScopeBatchError):
    """A signal asked for the end. `now` is set by the second one: stop without finishing the chunk."""

    def __init__(self, signum: int, *, now: bool = False, reason: str | None = None) -> None:
        super().__init__(reason or f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
        self.now = now
        self.exit_code = 128 + signum

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it pass between processes: `args` holds the message, not the arguments."""
        return partial(Interrupted, now=self.now, reason=str(self)), (self.signum,)
