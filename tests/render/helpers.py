"""Whole renders in this process and in processes of their own, and what they left."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from scope_batch.core.plan import Plan
from scope_batch.events import Event, Finished
from scope_batch.job import Job, load_text
from scope_batch.media.ffmpeg import QUIET, file_url, run_quiet
from scope_batch.render.chunk_stream import NeverStop, Stop
from scope_batch.render.engine_pool import Engines
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from scope_batch.render.prepare import prepare_job

Frames = NDArray[np.uint8]
Refused = Callable[..., None]
PROGRAM = [sys.executable, "-m", "scope_batch"]
SMALL = {"prompt": "a cat", "height": 64, "width": 64}
SLATE = {**SMALL, "pipeline_id": "slate"}
TINY = {**SMALL, "models": "tiny"}
PATIENCE_S = 600
"""No bound of any test: it ends what hangs."""
DEFAULTS = RenderOptions()
NEVER = NeverStop()


def job_of(base: dict[str, Any], **fields: Any) -> Job:
    return load_text(json.dumps(base | fields), name="job.yaml")


def write_job(path: Path, base: dict[str, Any], **fields: Any) -> Path:
    path.write_text(json.dumps(base | fields))
    return path


@dataclass
class Renderer:
    """Renders in `folder` with engines that are kept; `events` are those of the last render."""

    folder: Path
    engines: Engines
    events: list[Event] = field(default_factory=list)

    def __call__(
        self,
        base: dict[str, Any],
        *names: str,
        options: RenderOptions = DEFAULTS,
        stop: Stop = NEVER,
        **fields: Any,
    ) -> Finished:
        """Render to `names` below the folder, replacing them."""
        outputs = tuple(str(self.folder / name) for name in names)
        options = replace(options, outputs=outputs, overwrite=True)
        self.events = []
        return render_job(job_of(base, **fields), "job", options, self.events.append, stop, self.engines)

    def npy(self, base: dict[str, Any], **fields: Any) -> bytes:
        """The bytes of the NPY that this renders to."""
        self(base, "out.npy", **fields)
        return (self.folder / "out.npy").read_bytes()

    def frames(self, base: dict[str, Any], **fields: Any) -> Frames:
        self(base, "out.npy", **fields)
        return load_frames(self.folder / "out.npy")


def plan_of(base: dict[str, Any], **fields: Any) -> Plan:
    return prepare_job(job_of(base, **fields))


def load_frames(path: Path) -> Frames:
    frames: Frames = np.load(path, allow_pickle=False)
    assert frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[3] == 3
    return frames


def decode(path: Path, height: int = 64, width: int = 64) -> Frames:
    """All frames of a video file, RGB."""
    raw = path.with_name(f"{path.name}.raw")
    args = ["-i", file_url(path), "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    done = run_quiet([*QUIET, "-xerror", *args, "-y", file_url(raw)])
    assert (done.returncode, done.stderr) == (0, "")
    frames = np.fromfile(raw, np.uint8).reshape(-1, height, width, 3)
    raw.unlink()
    return frames


def ffmpeg(*args: str | int | Path) -> None:
    done = run_quiet([*QUIET, "-y", *(str(arg) for arg in args)])
    assert done.returncode == 0, done.stderr


class StopAt:
    """Ends a render before its chunk `chunk` by `error`."""

    def __init__(self, chunk: int, error: BaseException) -> None:
        self._left = chunk
        self._error = error

    def check(self) -> None:
        if self._left == 0:
            raise self._error
        self._left -= 1


@dataclass
class Running:
    """`scope-batch render` as a process whose progress is read as JSON."""

    process: subprocess.Popen[str]
    lines: list[dict[str, Any]] = field(default_factory=list)

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        for line in self._read():
            if wanted(line):
                return line
        raise AssertionError(f"it ended before: {self.lines}")

    def rest(self) -> int:
        """Read to the end; the exit code."""
        list(self._read())
        return self.process.wait()

    def chunks(self, count: int) -> None:
        """Wait until `count` chunks are done."""
        self.until(lambda line: line["event"] == "chunk" and line["chunk"] == count - 1)

    @property
    def error(self) -> str:
        return "".join(line["message"] for line in self.lines if line["event"] == "error")

    def encoders(self) -> list[psutil.Process]:
        """The children that take frames from a pipe; those that decode come and go."""
        encoders = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if "ffmpeg" in child.name() and "pipe:0" in child.cmdline():
                    encoders.append(child)
        return encoders

    def _read(self) -> Iterator[dict[str, Any]]:
        assert self.process.stderr
        for text in self.process.stderr:
            self.lines.append(json.loads(text))
            yield self.lines[-1]


@contextmanager
def running(folder: Path, *arguments: str | Path, **popen: Any) -> Iterator[Running]:
    """It is killed at the end if it still runs, and after `PATIENCE_S` whatever it does."""
    command = [*PROGRAM, "render", *map(str, arguments), "--progress", "json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder, **popen) as process:
        watchdog = threading.Timer(PATIENCE_S, process.kill)
        watchdog.start()
        try:
            yield Running(process)
        finally:
            watchdog.cancel()
            process.kill()


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
