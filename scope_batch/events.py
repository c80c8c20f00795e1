"""Events of a render as plain values: the progress bar, plain lines, JSON lines and HTTP read the same ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

StageName = Literal["encoding", "context", "recaching", "denoising", "caching", "decoding", "copying", "writing"]
""" "context": a pipeline that remembers nothing makes what it continues anew, before every chunk.
"caching": keys and values of the finished latents are stored; "copying": frames go from the device to the host."""


@dataclass(frozen=True, slots=True)
class Event:
    kind: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """The event as JSON values, its kind under "event"."""
        return {"event": self.kind, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Assigned(Event):
    """One of several devices begins with the job; `attempt` counts from 1. worker: "process 4711"."""

    kind: ClassVar[str] = "assigned"
    device: str
    worker: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Loading(Event):
    """A part of the model is being loaded: "text encoder", "transformer" ..., or read: "vae, for its checksum"."""

    kind: ClassVar[str] = "loading"
    what: str


@dataclass(frozen=True, slots=True)
class Started(Event):
    """Everything is loaded; the first chunk is next. `load_s`: seconds since the job was taken up."""

    kind: ClassVar[str] = "started"
    pipeline_id: str
    chunks: int
    num_frames: int
    fps: float
    height: int
    width: int
    outputs: tuple[str, ...]
    load_s: float


@dataclass(frozen=True, slots=True)
class Resumed(Event):
    """The render continues at a chunk (0-based), whose first delivered frame is `first_frame`, from a work folder.

    again  so many of the chunks that are made now had been made before; their frames are not written anew.
    """

    kind: ClassVar[str] = "resumed"
    chunk: int
    first_frame: int
    again: int
    folder: str


@dataclass(frozen=True, slots=True)
class ChunkStarted(Event):
    """A chunk (0-based) is about to be made under `prompt`."""

    kind: ClassVar[str] = "chunk-started"
    chunk: int
    prompt: str


@dataclass(frozen=True, slots=True)
class Stage(Event):
    """The chunk in flight enters a stage. `step` of `steps` is 1-based, 0 of 0 where a stage has no steps."""

    kind: ClassVar[str] = "stage"
    chunk: int
    stage: StageName
    step: int = 0
    steps: int = 0


@dataclass(frozen=True, slots=True)
class ChunkDone(Event):
    """A chunk is made and handed to the writer. Times in seconds, fps = delivered frames per second so far."""

    kind: ClassVar[str] = "chunk"
    chunk: int
    chunks: int
    frames: int
    frames_done: int
    num_frames: int
    seconds: float
    elapsed_s: float
    fps: float
    eta_s: float
    prompt: str


@dataclass(frozen=True, slots=True)
class Submitted(Event):
    """A server has taken the job."""

    kind: ClassVar[str] = "submitted"
    job: str
    server: str


@dataclass(frozen=True, slots=True)
class Remote(Event):
    """Something is going on between here and a server: "sending clip.mp4", "waiting for 2 jobs"."""

    kind: ClassVar[str] = "remote"
    what: str


@dataclass(frozen=True, slots=True)
class ChunkMeasured(Event):
    """The figures of the frames that a chunk delivered; see `scope_batch.media.figures.ChunkFigures`. Comes some chunks
    after `ChunkDone`, when they are written."""

    kind: ClassVar[str] = "figures"
    chunk: int
    red: float
    green: float
    blue: float
    contrast: float
    sharpness: float
    motion: float | None
    flicker: float | None


@dataclass(frozen=True, slots=True)
class Warned(Event):
    kind: ClassVar[str] = "warning"
    message: str


@dataclass(frozen=True, slots=True)
class OutputFile:
    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Finished(Event):
    """The one terminal event. `outcome` "done": verified and renamed; "skipped": every output was there already;
    "interrupted": a partial is kept; "failed".

    stored  of a render that did not end: whether its chunks are stored, so that the same job continues behind them.
    """

    kind: ClassVar[str] = "finished"
    outcome: Literal["done", "skipped", "interrupted", "failed"]
    frames: int
    num_frames: int
    load_s: float
    render_s: float
    fps: float
    peak_host_bytes: int
    peak_device_bytes: int
    outputs: tuple[OutputFile, ...]
    message: str = ""
    stored: bool | None = None


Report = Callable[[Event], None]


def silent(_: Event) -> None:
    """A report that drops every event."""
