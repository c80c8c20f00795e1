"""Collects how each job of a command ended: its closing line, the exit code, its line in the ledger."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.cli.console import CommandConsole
from scope_batch.cli.error_boundary import Boundary
from scope_batch.cli.queued_job import QueuedJob
from scope_batch.errors import DegradedError, Interrupted, OutputError, TimeLimitError
from scope_batch.events import Finished
from scope_batch.files.urls import is_url, with_urls, without_secrets
from scope_batch.progress import Reporter, wording

if TYPE_CHECKING:
    from scope_batch.farm.ledger import Ledger, Outcome


@dataclass(frozen=True, slots=True)
class Begin:
    """Where and when an attempt at a job began. host: "" for this machine; idle_s: how long its device had waited."""

    device: str
    host: str = ""
    idle_s: float = 0.0
    utc: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    monotonic_s: float = field(default_factory=time.monotonic)


class JobResults:
    """The results of the jobs that `arguments` name, by position.

    exit_code  of the first failure: that of a job that cannot be read, else of the first job in the order of the
               arguments.
    over       no further job is started.
    """

    def __init__(
        self, console: CommandConsole, arguments: Sequence[str], *, fail_fast: bool, ledger: Path | None = None
    ) -> None:
        """Raises OutputError if the ledger cannot be written."""
        self._console = console
        self._arguments = arguments
        self._fail_fast = fail_fast
        self._lines: dict[int, str] = {}
        self._outcomes: Counter[str] = Counter()
        self._unread_code = 0
        self._codes: dict[int, int] = {}
        self._ledger: Ledger | None = None
        self.over = False
        if ledger is not None:
            from scope_batch.farm.ledger import Ledger  # imports pydantic

            self._ledger = Ledger(ledger)
            self._ledger.check()

    @property
    def exit_code(self) -> int:
        return self._unread_code or (self._codes[min(self._codes)] if self._codes else 0)

    def read(self, position: int, read: Callable[[], QueuedJob]) -> QueuedJob | None:
        """Return what `read` returns; None, with a line for the fault, if it raises."""
        with self._console.boundary(self._arguments[position]) as boundary:
            return read()
        self._fail(position, boundary)
        self._unread_code = self._unread_code or boundary.exit_code
        return None

    def is_whole(self, queued: QueuedJob) -> bool:
        """Return whether the outputs of a job are there, rendered now or earlier."""
        position = queued.position - 1
        return position in self._lines and position not in self._codes

    def end(self, queued: QueuedJob, begin: Begin, boundary: Boundary, report: Reporter) -> None:
        """Note how a job ended. `report` has been closed; `boundary` holds the error, if there was one."""
        position = queued.position - 1
        finished = report.end if boundary.error is None else None
        if finished is None:
            outcome = self._fail(position, boundary)
            self._codes[position] = boundary.exit_code
        else:
            outcome = "skipped" if finished.outcome == "skipped" else "done"
            self._outcomes[outcome] += 1
            self._lines[position] = wording.result(finished)
        message = "" if boundary.error is None else _first_line(boundary.error)
        self.note_attempt(queued, begin, report, outcome, boundary.exit_code, message)

    def note_attempt(
        self, queued: QueuedJob, begin: Begin, report: Reporter, outcome: Outcome, exit_code: int, message: str
    ) -> None:
        """Append a line to the ledger, if there is one."""
        if self._ledger is None:
            return
        from scope_batch.farm.ledger import Attempt
        from scope_batch.render.fingerprint import job_sha256

        end: Finished | None = report.end
        attempt = Attempt(
            job=queued.argument,
            fingerprint=job_sha256(queued.job),
            device=begin.device,
            host=begin.host or socket.gethostname(),
            started=begin.utc,
            seconds=round(time.monotonic() - begin.monotonic_s, 3),
            outcome=outcome,
            exit_code=exit_code,
            load_s=0.0 if end is None else round(end.load_s, 3),
            idle_s=round(begin.idle_s, 3),
            resumed_chunk=report.state.first_chunk or None,
            outputs=() if end is None else tuple(_place(output.path) for output in end.outputs),
            message=message,
        )
        try:
            self._ledger.append(attempt)
        except OutputError as error:
            self._console.warn(f"the ledger lacks {queued.argument}: {error}")

    def sum_up(self) -> None:
        """Print a line for each of several jobs, and the number of jobs with each outcome."""
        total = len(self._arguments)
        if total == 1:
            return
        width = max(map(len, self._arguments))
        for position, argument in enumerate(self._arguments):
            self._console.remark(f"{argument:<{width}}  {self._lines.get(position, 'not started')}")
        counts = {
            "skipped": self._outcomes["skipped"],
            "failed": self._outcomes["failed"],
            "stopped": self._outcomes["stopped"],
            "not started": total - len(self._lines),
        }
        others = "".join(f", {count} {outcome}" for outcome, count in counts.items() if count)
        self._console.remark(f"{self._outcomes['done']} of {total} jobs rendered{others}")

    def _fail(self, position: int, boundary: Boundary) -> Outcome:
        error = boundary.error
        assert error is not None
        stops_all = isinstance(error, Interrupted | TimeLimitError | KeyboardInterrupt)
        outcome: Outcome = "stopped" if stops_all or isinstance(error, DegradedError) else "failed"
        self._outcomes[outcome] += 1
        self._lines[position] = f"{outcome} ({boundary.exit_code}): {_first_line(error)}"
        self.over = self.over or stops_all or self._fail_fast
        return outcome


def _first_line(error: BaseException) -> str:
    return without_secrets(with_urls(next(iter(str(error).splitlines()), type(error).__name__)))


def _place(output: str) -> str:
    return output if is_url(output) else str(Path(output).absolute())
