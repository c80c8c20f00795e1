"""Publishes all outputs of one render together; after a crash the next render completes or discards them.

Every output is written in its `WorkFolder`. When all are complete, each folder gets a journal; then each journal is
renamed from `prepared` to `committed`. After the first of these renames the outputs count as published, and their files
move to their final names. The next render moves the remaining files of a committed folder and empties any other.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import BaseModel, ValidationError

from scope_batch.checkpoint.store import STORE
from scope_batch.core.failpoint import failpoint
from scope_batch.errors import OutputExistsError, ScopeBatchError
from scope_batch.sinks.metadata import is_own_picture
from scope_batch.sinks.output import (
    has_sidecar,
    is_sequence,
    output_errors,
    partial_path,
    picture_numbers,
    refuse_existing,
    sidecar_path,
    work_path,
)
from scope_batch.sinks.work_folder import WorkFolder, read_plain_file

KEPT = "kept"
"""A file among the stored chunks that says that they are to stay although the outputs are published."""
PREPARED, COMMITTED = "prepared.journal", "committed.journal"


class Journal(BaseModel):
    """The data with which another process can publish a work folder.

    render    a random id, the same in all journals of one render.
    job       identifies the job, see `Publication`.
    outputs   absolute paths of all outputs that the render publishes together.
    files     number of files of this output.
    replaces  name beside the output -> identity of the existing file that may be replaced or removed.
    """

    render: str
    job: str
    outputs: tuple[str, ...]
    files: int
    replaces: dict[str, tuple[int, int, int]]


class Publication:
    """Locks the outputs of one render and publishes all of them, or none.

    A context manager: inside it no other process can write these outputs; at its end unpublished files are removed.
    """

    def __init__(
        self,
        outputs: Sequence[Path],
        *,
        previews: Sequence[Path] = (),
        job: str = "",
        overwrite: bool = False,
        chunks: Path | None = None,
        keep_chunks: bool = False,
        drop_chunks: bool = False,
    ) -> None:
        """`outputs` are published together; `previews` are locked as well, but replaced during the render.

        job          identifies the job: any text that is equal for equal jobs.
        chunks       an output, or another path, in whose work folder the render stores its chunks.
        keep_chunks  they stay when the outputs are published; drop_chunks: those of an earlier render are removed.
        """
        self._names = {str(path.absolute()) for path in outputs}
        self._job = job
        self._overwrite = overwrite
        self._extra = [chunks] if chunks is not None and chunks not in (*outputs, *previews) else []
        self._works = {path: WorkFolder(path) for path in (*outputs, *previews, *self._extra)}
        self._keep_chunks = keep_chunks
        self._drop_chunks = drop_chunks
        self._complete: list[WorkFolder] = []
        self.completed = False
        """True if an earlier render of the same job had finished all outputs, which were published on entering."""

    def __enter__(self) -> Self:
        """Raises TemporaryError if another process writes one of the outputs; OutputError, OutputExistsError."""
        try:
            for work in self._works.values():
                work.acquire()
                with output_errors(work.output):
                    journal = _recover(work, overwrite=self._overwrite)
                    if self._drop_chunks:
                        work.drop_chunks()
                if journal is not None and journal.job == self._job and {*journal.outputs} == self._names:
                    self.completed = True
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def work(self, path: Path) -> WorkFolder:
        """Return the folder in which the files of the output `path` are written."""
        return self._works[path]

    def add_complete(self, work: WorkFolder) -> None:
        """Mark the files in `work` as finished and verified: a whole output, or the partial of a stopped render."""
        self._complete.append(work)

    def publish(self) -> None:
        """Rename all outputs to their names. Raises OutputError, or OutputExistsError if one was created meanwhile.

        After an OutputError between two renames the next render completes the publication.
        """
        render = secrets.token_hex(8)
        plans = [self._plan(work, render) for work in self._complete]
        if len(plans) > 1 or any(journal.files > 1 or old for _, journal, old in plans):
            self._commit([(work, journal) for work, journal, _ in plans])
        for work, journal, old in plans:
            with output_errors(work.output):
                _move_all(work, journal, old, overwrite=self._overwrite)
                self._remove(work)
        for path in self._extra:
            with output_errors(path):
                self._remove(self._works[path])

    def finish_chunks(self) -> None:
        """The outputs are there: remove stored chunks, unless they are to be kept."""
        for work in self._works.values():
            work.keeps_chunks = self._keep_chunks or (work.path / STORE / KEPT).exists()

    def _remove(self, work: WorkFolder) -> None:
        if self._keep_chunks and (work.path / STORE).is_dir():
            (work.path / STORE / KEPT).touch()
        work.keeps_chunks = self._keep_chunks
        failpoint("published")
        work.remove()

    def keep_partials(self, error: BaseException) -> None:
        """Rename finished files to NAME.partial.EXT. A failure to do so is added to `error` as a note."""
        for work in [] if self._is_committed() else self._complete:
            try:
                with output_errors(work.output):
                    _move_partials(work)
            except ScopeBatchError as second:
                error.add_note(f"no partial kept: {second}")

    def _plan(self, work: WorkFolder, render: str) -> tuple[WorkFolder, Journal, list[str]]:
        """Return an output's journal, and the names of older files to remove before its own files move in."""
        with output_errors(work.output):
            names = work.files()
            old = _older_files(work, names, len(names))
            for name in {*names, *old}:
                refuse_existing(work.output.with_name(name), overwrite=self._overwrite)
            identities = {name: work.identity(name) for name in {*names, *old}}
        replaces = {name: identity for name, identity in identities.items() if identity is not None}
        outputs = tuple(sorted(self._names))
        journal = Journal(render=render, job=self._job, outputs=outputs, files=len(names), replaces=replaces)
        return work, journal, old

    def _commit(self, journals: Sequence[tuple[WorkFolder, Journal]]) -> None:
        for work, journal in journals:
            with output_errors(work.output):
                failpoint("publish-prepare")
                work.write_journal(PREPARED, journal.model_dump_json().encode())
        for work, _ in journals:
            with output_errors(work.output):
                failpoint("publish-commit")
                work.rename_journal(PREPARED, COMMITTED)
        failpoint("publish-committed")

    def _release(self) -> None:
        """Release all folders. Those that are committed or cannot be removed are left to the next render."""
        committed = self._is_committed()
        for work in self._works.values():
            with contextlib.suppress(OSError):
                if not (committed and (work.has_journal(PREPARED) or work.has_journal(COMMITTED))):
                    work.remove()
            work.release()

    def _is_committed(self) -> bool:
        return any(work.has_journal(COMMITTED) for work in self._works.values())


def _recover(work: WorkFolder, *, overwrite: bool) -> Journal | None:
    """Publish the files of a committed render in a locked work folder, else remove them; returns the journal used."""
    journal = _committed_journal(work)
    if journal is not None:
        _commit_others(journal)
        names = work.files()
        _move_all(work, journal, _older_files(work, names, journal.files), overwrite=overwrite)
    work.clear()
    return journal


def _committed_journal(work: WorkFolder) -> Journal | None:
    """Return the journal of the folder if any output of its render is committed."""
    own = _parse(work.read_journal(COMMITTED))
    if own is not None:
        return own
    prepared = _parse(work.read_journal(PREPARED))
    for path in prepared.outputs if prepared else ():
        other = _parse(read_plain_file(work_path(Path(path)) / COMMITTED))
        if prepared and other and other.render == prepared.render:
            return prepared
    return _parse(work.read_journal(COMMITTED))  # another process may have committed this folder and removed the other


def _commit_others(journal: Journal) -> None:
    """Commit all other outputs of the render, before the first is published and its journal removed."""
    for path in journal.outputs:
        folder = work_path(Path(path))
        other = _parse(read_plain_file(folder / PREPARED))
        if other and other.render == journal.render:
            with contextlib.suppress(FileNotFoundError):
                (folder / PREPARED).rename(folder / COMMITTED)


def _parse(text: bytes | None) -> Journal | None:
    try:
        return None if text is None else Journal.model_validate_json(text)
    except ValidationError:
        return None


def _move_all(work: WorkFolder, journal: Journal, old: Sequence[str], *, overwrite: bool) -> None:
    """Remove older files first, so that files of two renders never coexist. May be repeated after any interruption."""
    names = work.files()
    for name in {*names, *old}:
        identity = work.identity(name)
        if identity is not None and identity != journal.replaces.get(name) and not overwrite:
            raise OutputExistsError(f"{work.output.with_name(name)}: exists; replace it with --overwrite")
    for name in old:
        work.unlink_beside(name)
    for name in names:
        failpoint("publish-move")
        work.move_out(name, name)
    for path in _partials(work.output):
        work.unlink_beside(path.name)
    work.sync()
    work.result = work.output


def _move_partials(work: WorkFolder) -> None:
    if not work.files():
        return
    for path in _partials(work.output):
        work.unlink_beside(path.name)
    sidecar = sidecar_path(work.output).name
    for name in work.files():
        target = partial_path(work.output if name == sidecar else Path(name))
        work.move_out(name, sidecar_path(target).name if name == sidecar else target.name)
    work.sync()
    work.result = partial_path(work.output)


def _older_files(work: WorkFolder, names: Sequence[str], count: int) -> list[str]:
    """Return the files beside the output that are obsolete once `names`, the rest of its `count` files, move in.

    Pictures count only if scope-batch wrote them, and not if this render has moved them there already.
    """
    if not names:
        return []
    if not is_sequence(work.output):
        sidecar = sidecar_path(work.output)
        return [sidecar.name] if has_sidecar(work.output) and work.identity(sidecar.name) is not None else []
    rest = {*names}
    numbers = picture_numbers(work.output).items()
    return [path.name for path, number in numbers if (number >= count or path.name in rest) and is_own_picture(path)]


def _partials(output: Path) -> list[Path]:
    """Return the partial files that an earlier, stopped render of the output may have left."""
    partial = partial_path(output)
    if is_sequence(output):
        return [path for path in picture_numbers(partial) if is_own_picture(path)]
    return [partial, sidecar_path(partial)] if has_sidecar(output) else [partial]
