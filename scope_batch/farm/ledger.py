"""Keeps a ledger of renders: a file of JSON lines, one for each attempt at a job, that several processes can extend."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from scope_batch.errors import OutputError
from scope_batch.files.access import make_folders, reading

LEDGER = "jobs.jsonl"
"""Name of the file in the folder of a ledger."""
Outcome = Literal["done", "skipped", "failed", "stopped", "lost"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a job, from the moment a device took it until it ended there. Durations are in seconds.

    job            the job as the command line names it; fingerprint: sha256 of the job, as in the outputs' metadata.
    device, host   where it ran; started: UTC time, ISO 8601.
    outcome        "lost": the worker died or its device failed, and the job was to go on elsewhere.
    load_s         the part of `seconds` before the first chunk; idle_s: how long the device had waited for this job.
    resumed_chunk  the first chunk made here, if the ones before it were stored by an earlier attempt.
    outputs        absolute paths or URLs of the files written or kept; message: the first line of what went wrong.
    """

    job: str
    fingerprint: str
    device: str
    host: str
    started: str
    seconds: float
    outcome: Outcome
    exit_code: int
    load_s: float = 0.0
    idle_s: float = 0.0
    resumed_chunk: int | None = None
    outputs: tuple[str, ...] = ()
    message: str = ""


@dataclass(frozen=True, slots=True)
class JobHistory:
    """All attempts at one job, oldest first; at least one."""

    attempts: tuple[Attempt, ...]

    @property
    def last(self) -> Attempt:
        return self.attempts[-1]

    @property
    def seconds(self) -> float:
        return sum(attempt.seconds for attempt in self.attempts)


class Ledger:
    """The ledger in a folder, which need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LEDGER

    def check(self) -> None:
        """Raise OutputError if the ledger cannot be extended."""
        try:
            make_folders(self.path.parent)
            self.path.open("ab").close()
        except OSError as error:
            raise OutputError(f"--ledger {self.path}: {error.strerror}") from error

    def append(self, attempt: Attempt) -> None:
        """Append one line, whole, also if other processes append at the same time. Raises OutputError."""
        line = json.dumps(asdict(attempt), ensure_ascii=False, separators=(",", ":"))
        try:
            make_folders(self.path.parent)
            with self.path.open("ab+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write(_end_of_cut_line(file.fileno()) + line.encode("utf-8", "replace") + b"\n")
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror}") from error

    def read(self) -> tuple[list[JobHistory], int]:
        """Return the jobs in the order of their first attempts, and how many lines are damaged.

        A job whose text has changed is another job. Raises MissingInputError if there is no ledger.
        """
        with reading(self.path):
            lines = self.path.read_bytes().splitlines()
        attempts, damaged = list[Attempt](), 0
        for line in filter(None, lines):
            try:
                attempts.append(_attempts().validate_json(line))
            except ValidationError:
                damaged += 1
        return _histories(attempts), damaged


@cache
def _attempts() -> TypeAdapter[Attempt]:
    return TypeAdapter(Attempt)


def _end_of_cut_line(descriptor: int) -> bytes:
    """Return a line break if the file does not end with one, since a writer was killed or the disk was full."""
    size = os.fstat(descriptor).st_size
    return b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""


def _histories(attempts: Iterable[Attempt]) -> list[JobHistory]:
    found: dict[tuple[str, str], list[Attempt]] = {}
    for attempt in attempts:
        found.setdefault((attempt.job, attempt.fingerprint), []).append(attempt)
    return [JobHistory(tuple(history)) for history in found.values()]
