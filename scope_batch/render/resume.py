"""Continues a render from its work folder, and keeps there what it makes.

What the folder holds counts only as far as it is exactly what this render would make: see `checkpoint.provenance`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scope_batch import __version__
from scope_batch.checkpoint.cadence import Cadence
from scope_batch.checkpoint.provenance import Difference, Provenance, differences, listed
from scope_batch.checkpoint.store import STORE, ChunkStore, Found, StoredChunk, find_manifest, look_into
from scope_batch.core.engine import ByteWriter, Engine, EngineRequest, ReproducibleEngine, ResumableSession, Session
from scope_batch.core.failpoint import failpoint
from scope_batch.core.frames import Frames
from scope_batch.core.plan import Plan
from scope_batch.errors import JobError, MissingInputError, OutputError
from scope_batch.events import Report, Resumed, Warned
from scope_batch.job import Job
from scope_batch.render.fingerprint import provenance_of
from scope_batch.render.options import RenderOptions
from scope_batch.sinks.output import output_errors


class Resume:
    """The work folder of one render. The caller holds its lock from the beginning to the end.

    `complete`: every chunk is there already, so that no engine is needed.
    """

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        provenance: Provenance,
        report: Report,
        *,
        latents: bool,
        reuse: Path | None = None,
        cadence: Cadence | None = None,
        keep_states: Sequence[int] = (),
        any_environment: bool = False,
    ) -> None:
        """Look into `folder`, and into the work folder `reuse` of another render; what serves best is used.

        latents          the render saves latents, so that stored chunks without them do not count.
        cadence          None: no streaming state is saved.
        keep_states      chunks before which the state stays, however many are saved later.
        any_environment  go on although the machine or a package differs from what the first chunks were made with.
        Raises MissingInputError if `reuse` is no work folder, OutputError if one of them cannot be read.
        """
        self.folder = folder
        self._plan, self._provenance, self._report = plan, provenance, report
        self._cadence, self._keep_states, self._any_environment = cadence, keep_states, any_environment
        self._store: ChunkStore | None = None
        self._writing: Future[None] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._unneeded = threading.Event()
        self._replaced = False
        with output_errors(folder):
            self._found = look_into(folder, provenance, latents=latents)
            self._name_what_is_lost(folder, self._found)
        if reuse is not None:
            self._look_elsewhere(reuse, latents=latents)

    def _look_elsewhere(self, reuse: Path, *, latents: bool) -> None:
        folder = find_manifest(reuse)
        if folder is None:
            raise MissingInputError(f"--reuse {reuse}: no work folder of a render (it holds no chunks.jsonl)")
        if self.folder.is_dir() and folder.samefile(self.folder):
            return
        with output_errors(reuse):
            found = look_into(folder, self._provenance, latents=latents)
        self._name_what_is_lost(reuse, found)
        if self._worth(found) > self._worth(self._found):
            self._found = found
        elif found.chunks:
            self._report(Warned(f"--reuse {reuse}: it holds no more of this render than {self.folder.parent}"))

    def _worth(self, found: Found) -> tuple[int, int]:
        """The last chunk at which a render can continue from there, and the number of chunks that are there."""
        return max(self._starts(found)), len(found.chunks)

    def _name_what_is_lost(self, folder: Path, found: Found) -> None:
        for line in found.damaged:
            self._report(Warned(f"{folder}: {line}"))
        if found.changed:
            used = f"only the first {len(found.chunks)} chunks can be used" if found.chunks else "nothing of it is used"
            self._report(Warned(f"{folder}: made from something else: {listed(found.changed)}; {used}"))

    @property
    def complete(self) -> bool:
        return len(self._found.chunks) == len(self._plan.chunks)

    def stored(self, index: int) -> StoredChunk:
        return self._found.chunks[index]

    def start(self, engine: Engine, session: Session) -> int:
        """Bring the session to where it can continue; returns the chunk to make next. Those before it are stored.

        Raises JobError if the environment differs, unless `any_environment`; OutputError if the folder cannot be
        written.
        """
        environment = engine.environment() if isinstance(engine, ReproducibleEngine) else {"scope-batch": __version__}
        if self._found.chunks and (changed := differences(self._found.environment, environment)):
            self._check_environment(changed)
        start = self._restore(session)
        again = len(self._found.chunks) - start
        with output_errors(self.folder):
            self._store = ChunkStore(self.folder, replace(self._provenance, environment=environment), self._found)
            failpoint("resume-begun")
        if self._cadence is not None:
            self._cadence.begin(start)
        if self._found.chunks:
            self._report(Resumed(start, self._plan.chunks[start].first_frame, again, str(self._source)))
        return start

    def use_all(self, *, keep: bool) -> None:
        """Nothing is to be generated. keep: the chunks stay in this folder. Raises OutputError."""
        self._report(Resumed(len(self._plan.chunks), self._plan.num_frames, 0, str(self._source)))
        if keep:
            with output_errors(self.folder):
                made_here = replace(self._provenance, environment=self._found.environment)
                self._store = ChunkStore(self.folder, made_here, self._found)

    @property
    def _source(self) -> Path:
        """The folder that the stored chunks come from."""
        return self._found.chunks[0].folder

    def _check_environment(self, changed: Sequence[Difference]) -> None:
        named = "; ".join(map(str, changed))
        if not self._any_environment:
            raise JobError(
                f"{self._source}: its {len(self._found.chunks)} chunks were made elsewhere: {named}; --resume "
                "continues from them all the same, --no-resume begins anew"
            )
        self._report(Warned(f"the chunks that are stored were made elsewhere: {named}"))

    def _restore(self, session: Session) -> int:
        """The last chunk that the session can start at: one with a saved state, or one that starts a new sequence."""
        starts = self._starts(self._found)
        for start in sorted(starts, reverse=True):
            if not starts[start]:
                return start
            if isinstance(session, ResumableSession):
                failpoint("restore")
                try:
                    session.restore_file(self._state_file(start))
                    return start
                except ValueError as error:
                    self._report(Warned(f"{self._source}: the state before chunk {start} cannot be used: {error}"))
        return 0

    def _starts(self, found: Found) -> dict[int, bool]:
        """Chunks at which a session can start with what was found, each with whether that takes a saved state."""
        following = self._plan.chunks[: len(found.chunks) + 1]
        cuts = {chunk.index for chunk in following if chunk.cut and chunk.resets_noise_controller}
        return dict.fromkeys(found.states, True) | dict.fromkeys({0, *cuts}, False)

    def _state_file(self, index: int) -> Path:
        return self._source / f"{index:05d}.state"

    def commit(self, index: int, frames: Frames, latents: NDArray[np.float32] | None) -> None:
        """Keep a chunk that was made; called on the writer's thread. Raises OutputError."""
        assert self._store is not None
        with output_errors(self.folder):
            new = self._store.put_chunk(index, frames, latents)
        if new and index < len(self._found.chunks) and not self._replaced:
            self._replaced = True
            self._report(Warned(f"chunk {index} differs from the stored one, which is replaced, with all after it"))

    def after_chunk(self, session: Session, following: int) -> None:
        """Save the state before chunk `following` in the background, if it is time to."""
        cadence = self._cadence
        self._settle(wait=False)
        if cadence is None or following == len(self._plan.chunks) or not cadence.is_due(following):
            return
        if following in self._keep_states:
            self._settle(wait=True)
        if self._writing is None and self._begin_state(session, following):
            cadence.saved(following)

    def save_now(self, session: Session, following: int) -> None:
        """Save the state before chunk `following` and wait for it: the render is about to be stopped."""
        self._settle(wait=True)
        if self._cadence is not None and following < len(self._plan.chunks) and self._begin_state(session, following):
            self._settle(wait=True)

    def finish(self) -> None:
        """Every chunk is generated: a state that is still being written is of no use, unless it is to be kept."""
        if not self._keep_states:
            self._unneeded.set()

    def close(self) -> None:
        """Wait for what is being written. May be called again."""
        self._settle(wait=True)
        self._pool.shutdown()
        if self._store is not None:
            self._store.close()

    def _begin_state(self, session: Session, following: int) -> bool:
        if not isinstance(session, ResumableSession):
            return False
        snapshot = session.snapshot()
        store = self._store
        assert store is not None

        def write() -> None:
            began_s = time.monotonic()
            with output_errors(self.folder), contextlib.suppress(_UnneededError):
                store.put_state(
                    following, lambda file: snapshot.write(_Interruptible(file, self._unneeded)), self._keep_states
                )
                assert self._cadence is not None
                self._cadence.cost(snapshot.seconds, time.monotonic() - began_s)

        self._writing = self._pool.submit(write)
        return True

    def _settle(self, *, wait: bool) -> None:
        """Take note of a state that has been written. One that could not be is a warning: the chunks are kept."""
        if self._writing is None or not (wait or self._writing.done()):
            return
        try:
            self._writing.result()
        except OutputError as error:
            self._report(Warned(f"the state could not be saved, the render goes on without: {error}"))
        finally:
            self._writing = None


class _UnneededError(Exception):
    """Nobody needs the rest of the file."""


@dataclass(frozen=True, slots=True)
class _Interruptible:
    """Passes bytes on until an event is set, and raises then."""

    file: ByteWriter
    event: threading.Event

    def write(self, data: memoryview | bytes, /) -> int:
        if self.event.is_set():
            raise _UnneededError
        return self.file.write(data)


def open_resume(
    folder: Path,
    job: Job,
    plan: Plan,
    request: EngineRequest,
    options: RenderOptions,
    report: Report,
    *,
    latents: bool,
) -> Resume:
    """The stored chunks in the work folder `folder`, which is locked. latents: they are stored too.

    Raises as `Resume` does.
    """
    resume = Resume(
        folder / STORE,
        plan,
        provenance_of(plan, request),
        report,
        latents=latents,
        reuse=options.reuse,
        cadence=Cadence(
            options.checkpoint_every, job.keep_state, 0 if plan.memory is None else plan.memory.streaming_state
        ),
        keep_states=job.keep_state,
        any_environment=options.resume is True,
    )
    if resume.complete:
        resume.use_all(keep=options.keep_work or bool(job.keep_state))
    return resume
