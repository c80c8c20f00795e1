"""Publishes the outputs of one render as a whole: after a crash at any moment the next render completes or drops it.

Every output is made in its `WorkFolder`. When all of them are whole, each folder gets a journal; then each journal is
renamed from `prepared` to `committed`. With the first of these renames the outputs count as published, and their files
move to their names. A render that finds a committed folder moves the rest; from any other it removes the files.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import BaseModel, ValidationError

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

PREPARED, COMMITTED = "prepared.journal", "committed.journal"


class Journal(BaseModel):
    """What a work folder needs to be published by another process.

    render    a random name of the render: journals of one render belong together.
    job       what was rendered, see `Publication`.
    outputs   absolute paths of everything that the render publishes as a whole.
    files     how many files this output consists of.
    replaces  name beside the output -> identity of the file that may be replaced or removed.
    """

    render: str
    job: str
    outputs: tuple[str, ...]
    files: int
    replaces: dict[str, tuple[int, int, int]]


class Publication:
    """Locks the outputs of one render and, in the end, gives all of them their names, or none.

    A context manager: inside it nobody else makes these outputs; what is not published when it ends is removed.
    """

    def __init__(
        self, outputs: Sequence[Path], *, beside: Sequence[Path] = (), job: str = "", overwrite: bool = False
    ) -> None:
        """`outputs` become visible together; `beside`: files that are replaced on the way (previews), locked as well.

        job   what is rendered, in any words that are equal for equal results.
        """
        self._names = {str(path.absolute()) for path in outputs}
        self._job = job
        self._overwrite = overwrite
        self._works = {path: WorkFolder(path) for path in (*outputs, *beside)}
        self._whole: list[WorkFolder] = []
        self.completed = False
        """An earlier render of this very job had finished all outputs; only names were missing, and are given now."""

    def __enter__(self) -> Self:
        """Raises TemporaryError if another process makes one of the outputs, else OutputError, OutputExistsError."""
        try:
            for work in self._works.values():
                work.acquire()
                with output_errors(work.output):
                    journal = _settle(work, overwrite=self._overwrite)
                if journal is not None and journal.job == self._job and {*journal.outputs} == self._names:
                    self.completed = True
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def work(self, path: Path) -> WorkFolder:
        """The folder in which the files of the output `path` are made."""
        return self._works[path]

    def add_whole(self, work: WorkFolder) -> None:
        """The files in `work` are finished and verified: all of an output, or what a stopped render has of it."""
        self._whole.append(work)

    def publish(self) -> None:
        """Give every output its name. Raises OutputError, or OutputExistsError if somebody else made one meanwhile.

        After an OutputError in the middle the next render completes it.
        """
        render = secrets.token_hex(8)
        plans = [self._plan(work, render) for work in self._whole]
        if len(plans) > 1 or any(journal.files > 1 or old for _, journal, old in plans):
            self._commit([(work, journal) for work, journal, _ in plans])
        for work, journal, old in plans:
            with output_errors(work.output):
                _move_all(work, journal, old, overwrite=self._overwrite)
                work.remove()

    def keep_partials(self, error: BaseException) -> None:
        """Name what is finished NAME.partial.EXT. What cannot be kept is a note on `error`."""
        for work in [] if self._is_committed() else self._whole:
            try:
                with output_errors(work.output):
                    _move_partials(work)
            except ScopeBatchError as second:
                error.add_note(f"no partial kept: {second}")

    def _plan(self, work: WorkFolder, render: str) -> tuple[WorkFolder, Journal, list[str]]:
        """The journal of an output, and the names of older files beside it that go before its own files come."""
        with output_errors(work.output):
            names = work.files()
            old = _older_files(work, names, len(names))
            for name in {*names, *old}:
                refuse_existing(work.output.with_name(name), overwrite=self._overwrite)
            found = {name: work.identity(name) for name in {*names, *old}}
        replaces = {name: identity for name, identity in found.items() if identity is not None}
        outputs = tuple(sorted(self._names))
        journal = Journal(render=render, job=self._job, outputs=outputs, files=len(names), replaces=replaces)
        return work, journal, old

    def _commit(self, journals: Sequence[tuple[WorkFolder, Journal]]) -> None:
        for work, journal in journals:
            with output_errors(work.output):
                work.write_journal(PREPARED, journal.model_dump_json().encode())
        for work, _ in journals:
            with output_errors(work.output):
                work.rename_journal(PREPARED, COMMITTED)

    def _leave(self) -> None:
        """What is committed, or cannot be removed, is left to the next render."""
        committed = self._is_committed()
        for work in self._works.values():
            with contextlib.suppress(OSError):
                if not (committed and (work.has_journal(PREPARED) or work.has_journal(COMMITTED))):
                    work.remove()
            work.release()

    def _is_committed(self) -> bool:
        return any(work.has_journal(COMMITTED) for work in self._works.values())


def _settle(work: WorkFolder, *, overwrite: bool) -> Journal | None:
    """Publish what a committed render left in a locked work folder, or remove it; returns what was published."""
    journal = _committed_journal(work)
    if journal is not None:
        _commit_others(journal)
        names = work.files()
        _move_all(work, journal, _older_files(work, names, journal.files), overwrite=overwrite)
    work.clear()
    return journal


def _committed_journal(work: WorkFolder) -> Journal | None:
    """The journal, if any output of its render is committed."""
    own = _parse(work.read_journal(COMMITTED))
    if own is not None:
        return own
    prepared = _parse(work.read_journal(PREPARED))
    for path in prepared.outputs if prepared else ():
        other = _parse(read_plain_file(work_path(Path(path)) / COMMITTED))
        if prepared and other and other.render == prepared.render:
            return prepared
    return _parse(work.read_journal(COMMITTED))  # another process may have committed this one and removed the other


def _commit_others(journal: Journal) -> None:
    """Before the first output of a committed render is published and its journal goes, all others are committed."""
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
    """Older files go first, so that files of two renders never stand side by side; may be begun again at any point."""
    names = work.files()
    for name in {*names, *old}:
        identity = work.identity(name)
        if identity is not None and identity != journal.replaces.get(name) and not overwrite:
            raise OutputExistsError(f"{work.output.with_name(name)}: exists; replace it with --overwrite")
    for name in old:
        work.unlink_beside(name)
    for name in names:
        work.move_out(name, name)
    for path in _partials(work.output):
        work.unlink_beside(path.name)
    work.sync()
    work.result = work.output


def _move_partials(work: WorkFolder) -> None:
    for path in _partials(work.output):
        work.unlink_beside(path.name)
    sidecar = sidecar_path(work.output).name
    for name in work.files():
        target = partial_path(work.output if name == sidecar else Path(name))
        work.move_out(name, sidecar_path(target).name if name == sidecar else target.name)
    work.sync()
    work.result = partial_path(work.output)


def _older_files(work: WorkFolder, names: Sequence[str], count: int) -> list[str]:
    """Names beside the output that are no part of it once `names`, the rest of its `count` files, have come.

    Of pictures only those that a render made; those of this render that have their names already are spared.
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
    """The files that an earlier, stopped render of the output may have left."""
    partial = partial_path(output)
    if is_sequence(output):
        return [path for path in picture_numbers(partial) if is_own_picture(path)]
    return [partial, sidecar_path(partial)] if has_sidecar(output) else [partial]
