"""Holds the values of the job table: a job, its settings and progress, and its events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scope_batch.errors import TemporaryError

JobState = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
EndState = Literal["done", "failed", "cancelled"]

WAITING: tuple[JobState, ...] = ("queued", "interrupted")
"""States of a job that waits for a worker; an interrupted one goes on from its last committed chunk."""
ENDED: tuple[EndState, ...] = ("done", "failed", "cancelled")
"""States that a job never leaves. The job's last event is of the same kind."""
WORK = "work"
"""The folder of the stored chunks, in the job's folder."""


class BusyError(TemporaryError):
    """As many jobs run or wait as may."""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What a job is rendered with, beside its fields.

    outputs           names of the files to write, in the job's folder: "out.npy", "out.mp4".
    preview           name of a PNG in the same folder that is replaced after each chunk.
    checkpoint_every  save the streaming state every so many chunks; None: as often as 2 % of the time allows.
    """

    outputs: tuple[str, ...]
    preview: str | None = None
    checkpoint_every: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is; `num_chunks` and `num_frames` are 0 until it has started. Frames are delivered ones."""

    chunks_done: int = 0
    num_chunks: int = 0
    frames_done: int = 0
    num_frames: int = 0


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A row of the job table. Times are seconds since 1970.

    id                random and opaque, 32 hexadecimal digits.
    request           JSON object of the job's fields; its input paths are absolute.
    caller            text of whoever submitted the job, which is only kept.
    outputs           absolute paths of the finished files; after a cancellation, of the valid partial ones.
    error, exit_code  of a failed job: one line per problem, and the code that `scope-batch render` would exit with.
    lost_workers      how many workers died in this job.
    cancel_requested  the job is running, and ends as cancelled after the chunk in flight.
    unwanted          the job is to be removed when it has ended.
    """

    id: str
    state: JobState
    request: str
    settings: JobSettings
    caller: str
    submitted_s: float
    started_s: float | None = None
    finished_s: float | None = None
    progress: Progress = Progress()
    outputs: tuple[str, ...] = ()
    error: str = ""
    exit_code: int = 0
    lost_workers: int = 0
    cancel_requested: bool = False
    unwanted: bool = False

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event of a job. `number` counts from 1 in each job; `data` is JSON text.

    kind   that of an event of `scope_batch.events`, whose `to_json` is the data; of the last event, the job's
           `EndState`, with the data {"outputs": [path], "frames": n, "error": text, "exit_code": n}.
    """

    job: str
    number: int
    kind: str
    data: str
