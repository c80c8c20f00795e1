"""Guards engines of plugins: every error in one becomes one line that names the plugin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scope_batch.core.engine import Engine, Generated, ResumableSession, Session, Snapshot
from scope_batch.core.frames import NO_INPUTS, ChunkInputs, Frames
from scope_batch.core.plan import Chunk, Plan
from scope_batch.core.registry import foreign
from scope_batch.errors import UnavailableError
from scope_batch.events import Report
from scope_batch.pipelines import KNOWN_PIPELINES


@contextmanager
def guarded_session(engine: Engine, plan: Plan, report: Report) -> Iterator[Session]:
    """Open the engine for a plan. Errors raised in the with-body are not attributed to the plugin."""
    where = KNOWN_PIPELINES.where(plan.pipeline_id)
    with foreign(where):
        opened = engine.session(plan, report)
        session = opened.__enter__()
    try:
        guard = GuardedResumableSession if isinstance(session, ResumableSession) else GuardedSession
        yield guard(session, plan, where)
    except BaseException as error:
        with foreign(where):
            opened.__exit__(type(error), error, error.__traceback__)
        raise
    with foreign(where):
        opened.__exit__(None, None, None)


def guarded_peak_bytes(engine: Engine, plan: Plan) -> int:
    with foreign(KNOWN_PIPELINES.where(plan.pipeline_id)):
        return engine.peak_device_bytes()


@dataclass(frozen=True, slots=True)
class GuardedSession:
    """A `Session` whose errors name the plugin. `where`: the plugin, as for `foreign`."""

    session: Session
    plan: Plan
    where: str | None

    def generate(self, chunk: Chunk, inputs: ChunkInputs = NO_INPUTS) -> GuardedChunk:
        with foreign(self.where):
            generated = self.session.generate(chunk, inputs)
        shape = (chunk.frames, self.plan.height, self.plan.width, 3)
        return GuardedChunk(generated, shape, self.where, f"{self.where or self.plan.pipeline_id}: chunk {chunk.index}")


@dataclass(frozen=True, slots=True)
class GuardedResumableSession(GuardedSession):
    """A `ResumableSession` whose errors name the plugin."""

    def snapshot(self) -> Snapshot:
        assert isinstance(self.session, ResumableSession)
        with foreign(self.where):
            return self.session.snapshot()

    def restore_file(self, path: Path) -> None:
        assert isinstance(self.session, ResumableSession)
        with foreign(self.where):
            self.session.restore_file(path)


@dataclass(frozen=True, slots=True)
class GuardedChunk:
    """A `Generated` whose errors name the plugin. Raises UnavailableError for frames of another dtype or shape."""

    generated: Generated
    shape: tuple[int, ...]
    where: str | None
    name: str

    def frames(self) -> Frames:
        with foreign(self.where):
            frames = self.generated.frames()
        if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.shape != self.shape:
            actual = f"{frames.dtype} {frames.shape}" if isinstance(frames, np.ndarray) else type(frames).__name__
            raise UnavailableError(f"{self.name}: returned {actual}, expected uint8 {self.shape}")
        return frames

    def latents(self) -> NDArray[np.float32] | None:
        with foreign(self.where):
            return self.generated.latents()
