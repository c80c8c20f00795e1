"""Continues a render from its work folder, and keeps there what it makes.

What the folder holds counts only as far as it is exactly what this render would make: see `checkpoint.provenance`.
"""

from __future__ import annotations

import fcntl
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from scope_batch.checkpoint.cadence import Cadence
from scope_batch.checkpoint.provenance import Difference, Provenance, Texts, differences, listed
from scope_batch.checkpoint.store import STORE, ChunkStore, Found, StoredChunk, find_manifest, look_into
from scope_batch.core.engine import Engine, EngineRequest, ResumableSession, Session
from scope_batch.core.failpoint import failpoint
from scope_batch.core.frames import Frames
from scope_batch.core.plan import Plan
from scope_batch.errors import JobError, MissingInputError, TemporaryError
from scope_batch.events import Report, Resumed, Warned
from scope_batch.job import Job
from scope_batch.render.fingerprint import environment_of, package_versions, provenance_of
from scope_batch.render.options import RenderOptions
from scope_batch.render.state_saver import StateSaver
from scope_batch.sinks.output import output_errors
from scope_batch.sinks.work_folder import LOCK


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
        cadence: Cadence,
        reuse: Path | None = None,
        keep_states: Sequence[int] = (),
        any_environment: bool = False,
    ) -> None:
        """Look into `folder`, and into the work folder `reuse` of another render; the one from which the render can
        continue latest is used.

        latents          the render saves latents, so that stored chunks without them do not count.
        cadence          decides when the streaming state is saved.
        keep_states      chunks before which the state stays, however many are saved later.
        any_environment  go on although the machine or a package differs from what the first chunks were made with.
        Raises MissingInputError if `reuse` is no work folder, OutputError if one of them cannot be read.
        """
        self.folder = folder
        self._plan, self._provenance, self._report = plan, provenance, report
        self._cadence, self._keep_states, self._any_environment = cadence, keep_states, any_environment
        self._store: ChunkStore | None = None
        self._saver: StateSaver | None = None
        self._lock_of_reused: BinaryIO | None = None
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
        self._lock_of_reused = _shared_lock(reuse, folder.parent / LOCK)
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
            self._report(Warned(f"{folder}: stored for another job: {listed(found.changed)}; {used}"))

    @property
    def complete(self) -> bool:
        return len(self._found.chunks) == len(self._plan.chunks)

    @property
    def environment(self) -> Texts:
        """The machine and the packages that made the stored chunks."""
        return self._found.environment

    def stored(self, index: int) -> StoredChunk:
        return self._found.chunks[index]

    def start(self, engine: Engine, session: Session) -> int:
        """Bring the session to where it can continue; returns the chunk to make next. Those before it are stored.

        Raises JobError if the environment differs, unless `any_environment`; OutputError if the folder cannot be
        written.
        """
        environment = environment_of(engine)
        if self._found.chunks:
            self._check_environment(differences(self._found.environment, environment))
        start = self._restore(session)
        again = len(self._found.chunks) - start
        with output_errors(self.folder):
            self._store = ChunkStore(self.folder, replace(self._provenance, environment=environment), self._found)
            failpoint("resume-begun")
        source = self._source
        self._found = replace(
            self._found, chunks=tuple(replace(chunk, folder=self.folder) for chunk in self._found.chunks)
        )
        self._cadence.begin(start)
        chunks = len(self._plan.chunks)
        self._saver = StateSaver(self._store, chunks, self._cadence, self._keep_states, self._report)
        if self._found.chunks:
            self._report(Resumed(start, self._plan.chunks[start].first_frame, again, str(source)))
        return start

    def use_all(self, *, keep: bool) -> None:
        """Nothing is to be generated. keep: the chunks stay in this folder.

        Raises JobError if the packages differ, unless `any_environment`; OutputError.
        """
        known = package_versions()
        stored = {name: value for name, value in self._found.environment.items() if name in known}
        self._check_environment(differences(stored, known))
        self._report(Resumed(len(self._plan.chunks), self._plan.num_frames, 0, str(self._source)))
        if keep:
            with output_errors(self.folder):
                made_here = replace(self._provenance, environment=self._found.environment)
                self._store = ChunkStore(self.folder, made_here, self._found)

    @property
    def _source(self) -> Path:
        """The folder that the stored chunks come from; that of this render if there are none."""
        return self._found.chunks[0].folder if self._found.chunks else self.folder

    def _check_environment(self, changed: Sequence[Difference]) -> None:
        if not changed:
            return
        named = "; ".join(map(str, changed))
        if not self._any_environment:
            raise JobError(
                f"{self._source}: its {len(self._found.chunks)} chunks were generated in another environment: {named}; "
                "--resume continues from them all the same, --no-resume begins anew"
            )
        self._report(Warned(f"the stored chunks were generated in another environment: {named}"))

    def _restore(self, session: Session) -> int:
        """The last chunk that the session can start at: one with a saved state, or one that starts a new sequence."""
        starts = self._starts(self._found)
        for start in sorted(starts, reverse=True):
            if not starts[start]:
                return start
            if not isinstance(session, ResumableSession):
                continue
            state = self._found.states[start]
            if not state.is_sound():
                self._report(Warned(f"{self._source}: the state before chunk {start} is damaged and not used"))
                continue
            failpoint("restore")
            try:
                session.restore_file(state.path)
            except ValueError as error:
                self._report(Warned(f"{self._source}: the state before chunk {start} cannot be used: {error}"))
                continue
            return start
        return 0

    def _starts(self, found: Found) -> dict[int, bool]:
        """Chunks at which a session can start with what was found, each with whether that takes a saved state."""
        following = self._plan.chunks[: len(found.chunks) + 1]
        cuts = {chunk.index for chunk in following if chunk.cut and chunk.resets_noise_controller}
        return dict.fromkeys(found.states, True) | dict.fromkeys({0, *cuts}, False)

    def commit(self, index: int, frames: Frames, latents: NDArray[np.float32] | None) -> None:
        """Keep a chunk that was made; called on the writer's thread. Raises OutputError."""
        assert self._store is not None
        with output_errors(self.folder):
            new = self._store.put_chunk(index, frames, latents)
        if new and index < len(self._found.chunks) and not self._replaced:
            self._replaced = True
            self._report(Warned(f"chunk {index} differs from the stored one, which is replaced, with all after it"))

    def after_chunk(self, session: Session, following: int) -> None:
        """See `StateSaver.after_chunk`."""
        assert self._saver is not None
        self._saver.after_chunk(session, following)

    def save_now(self, session: Session, following: int) -> None:
        """See `StateSaver.save_now`."""
        assert self._saver is not None
        self._saver.save_now(session, following)

    def finish(self) -> None:
        """See `StateSaver.finish`."""
        if self._saver is not None:
            self._saver.finish()

    def close(self) -> None:
        """Drop a state that is still being written, and let go of every file. May be called again."""
        try:
            if self._saver is not None:
                self._saver.close()
        finally:
            if self._store is not None:
                self._store.close()
            if self._lock_of_reused is not None:
                self._lock_of_reused.close()


def _shared_lock(reuse: Path, lock: Path) -> BinaryIO | None:
    """Keep the render whose folder is reused from removing it meanwhile. Raises TemporaryError while it is running."""
    try:
        file = lock.open("rb")
    except OSError:
        return None  # a copy of a work folder has no lock
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise TemporaryError(f"--reuse {reuse}: the render that stores its chunks there is still running") from error
    except OSError:
        pass  # a disk that knows no locks
    return file


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
