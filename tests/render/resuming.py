"""A job of four chunks that is stopped and continued, with an engine of two layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scope_batch.checkpoint.store import STORE
from scope_batch.errors import Interrupted
from scope_batch.events import ChunkDone, Event, Resumed, Warned
from scope_batch.render.engine_pool import Engines
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from tests.render.helpers import TINY, StopAt, job_of

FIELDS: dict[str, Any] = {
    "num_frames": 45,
    "denoising_steps": [1000, 500],
    "lora_scales": {"style.safetensors": [0.0, 0.1, 0.2, 0.3]},
}
CHUNKS = 4
DOG = [{"chunk": 2, "text": "a dog"}]


class Runs:
    """Renders the job to `out.npy`; `events` are those of the last run."""

    def __init__(self, folder: Path, engines: Engines) -> None:
        self.folder, self.engines = folder, engines
        self.events: list[Event] = []

    def __call__(self, *, stop_at: int | None = None, name: str = "out.npy", **given: Any) -> bytes:
        options = {"resume": True, "checkpoint_every": 1, **given.pop("options", {})}
        job = job_of(TINY, **{**FIELDS, **given})
        stop = None if stop_at is None else StopAt(stop_at, Interrupted(2))
        self.events = []
        outputs = (str(self.folder / name),)
        try:
            render_job(job, "job", RenderOptions(outputs=outputs, **options), self.events.append, stop, self.engines)
        except Interrupted:
            assert stop is not None
            return b""
        return (self.folder / name).read_bytes()

    @property
    def store(self) -> Path:
        return self.folder / ".out.npy.work" / STORE

    @property
    def generated(self) -> list[int]:
        return [event.chunk for event in self.events if isinstance(event, ChunkDone)]

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Warned)]

    @property
    def resumed(self) -> list[tuple[int, int]]:
        """Where it continued, and how many stored chunks were made again."""
        return [(event.chunk, event.again) for event in self.events if isinstance(event, Resumed)]
