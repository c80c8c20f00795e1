"""Keeps outputs in shared storage by the rules of local files: made and verified locally, then uploaded whole.

An output with a URL is made at a local path, `Output.path`. Before the render, what is in the storage is compared with
the job; after it, the files are uploaded and the local ones removed. If the upload fails they stay: the next run finds
them finished and only uploads. A record beside them says which local files are equal to which objects.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from scope_batch.errors import OutputError, OutputExistsError, TemporaryError
from scope_batch.events import OutputFile, Remote, Report
from scope_batch.files.access import make_folders
from scope_batch.files.cache import read_sealed, write_sealed
from scope_batch.files.image_series import matcher
from scope_batch.files.remembered import recall, remember
from scope_batch.sinks.output import Output, has_sidecar, is_sequence, output_errors, picture_names, sidecar_path
from scope_batch.storage.store import StoredObject, list_folder, look_up, require_bucket, writing
from scope_batch.storage.upload import has_content, upload

if TYPE_CHECKING:
    from filelock import BaseFileLock

_KIND = "stored-outputs"


@dataclass(slots=True)
class _StoredOutput:
    """One output.

    objects   name -> object in the storage that belongs to the output.
    equal     names of local files that are equal to their objects; fetched: of those that were fetched from there.
    document  metadata of what is in the storage, if this machine remembers it.
    """

    path: Path
    url: str
    lock: BaseFileLock
    objects: dict[str, StoredObject] = field(default_factory=dict)
    equal: set[str] = field(default_factory=set)
    fetched: set[str] = field(default_factory=set)
    document: dict[str, Any] | None = None

    @property
    def files(self) -> dict[str, Path]:
        """Name -> existing local file, in the order of the upload: a sidecar first, pictures by number."""
        if is_sequence(self.path):
            names = sorted(picture_names(self.path), key=lambda name: (len(name), name))
            return {name: self.path.with_name(name) for name in names}
        paths = ([sidecar_path(self.path)] if has_sidecar(self.path) else []) + [self.path]
        return {path.name: path for path in paths if path.exists()}

    @property
    def waits(self) -> bool:
        """True if a finished result lies here that is not in the storage."""
        return bool(self.files) and {*self.files} != self.equal

    @property
    def record(self) -> Path:
        return self.path.with_name(f".{self.path.name}.stored")

    def url_of(self, name: str) -> str:
        return f"{self.url.rsplit('/', 1)[0]}/{name}"


class StoredOutputs:
    """The outputs of one render that have a URL; none of them makes every method a no-op.

    A context manager: inside it no other process on this machine makes the same outputs.
    """

    def __init__(self, outputs: Sequence[Output], report: Report, *, overwrite: bool) -> None:
        self._report = report
        self._overwrite = overwrite
        places = [(output.path, output.url) for output in outputs if output.path is not None and output.url is not None]
        self._stored = [_StoredOutput(path, url, _lock_of(path)) for path, url in places]
        self._uploaded: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Compare what is in the storage with what is here. Raises TemporaryError if another process makes an output,
        OutputError if the storage cannot be read, OutputExistsError if it holds something else than a finished result
        that waits here."""
        try:
            for stored in self._stored:
                with output_errors(stored.path):
                    make_folders(stored.path.parent)
                    try:
                        stored.lock.acquire(timeout=0)
                    except TimeoutError:
                        raise TemporaryError(f"{stored.url}: another process is making it") from None
                    self._look(stored)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stored in self._stored:
            if not stored.lock.is_locked:
                continue
            with contextlib.suppress(OSError):
                if stored.fetched:
                    self._drop_copies(stored)
            stored.lock.release()
            with contextlib.suppress(OSError):
                Path(stored.lock.lock_file).unlink(missing_ok=True)
                for folder in stored.path.parents[: len(stored.url.split("/")) - 2]:
                    folder.rmdir()  # until one is not empty

    @property
    def exist(self) -> bool:
        """True if an object of an output is in the storage."""
        return any(stored.objects for stored in self._stored)

    @property
    def wait(self) -> bool:
        """True if a finished result waits here to be uploaded."""
        return any(stored.waits for stored in self._stored)

    @property
    def documents(self) -> dict[Path, dict[str, Any]]:
        """Local path -> metadata of an output that this machine has uploaded, and that is in the storage unchanged."""
        return {stored.path: stored.document for stored in self._stored if stored.document is not None}

    def refuse(self, reasons: Sequence[str]) -> None:
        """Raise OutputExistsError if something is in the storage and may not be replaced. reasons: why not skipped."""
        for stored in self._stored:
            if stored.objects and not self._overwrite:
                why = "; ".join(reasons[:2])
                raise OutputExistsError(f"{stored.url}: exists; replace it with --overwrite; {why}")

    def upload(self, metadata: str | None) -> None:
        """Upload what is not in the storage yet, then remove the local files. metadata: that of the outputs.

        Raises OutputError if that fails; the local files stay.
        """
        for stored in self._stored:
            try:
                with output_errors(stored.path):
                    self._upload(stored)
            except OutputError as error:
                raise OutputError(
                    f"{error}; the finished result is kept as {stored.path}, and the same command only uploads it"
                ) from error
            if metadata is not None:
                remember(_KIND, stored.path, _state(stored), metadata.encode())
        for stored in self._stored:
            self._uploaded[str(stored.path)] = stored.url
            with output_errors(stored.path):
                stored.record.unlink(missing_ok=True)
                for file in stored.files.values():
                    file.unlink()

    def named(self, files: Sequence[OutputFile]) -> tuple[OutputFile, ...]:
        """Return the files with the URLs of those that were uploaded."""
        return tuple(OutputFile(self._uploaded.get(file.path, file.path), file.bytes) for file in files)

    def _look(self, stored: _StoredOutput) -> None:
        with writing(stored.url) as store:
            stored.objects = _objects(store, stored)
            if not stored.objects:
                require_bucket(store, stored.url)
            record = self._record(stored)
            unchanged = [
                record.get(name) == _fact(found, stored.path.with_name(name)) for name, found in stored.objects.items()
            ]
            if not unchanged or not all(unchanged):
                self._drop_copies(stored)
            record, files = self._record(stored), stored.files
            for name, found in stored.objects.items():
                if name in files and (
                    record.get(name) == _fact(found, files[name]) or has_content(store, found.url, files[name])
                ):
                    stored.equal.add(name)
            if files:
                if not self._overwrite and stored.equal != {*stored.objects}:
                    raise OutputExistsError(
                        f"{stored.url}: exists, and differs from the finished result that waits as {stored.path}; "
                        "--overwrite uploads that"
                    )
            elif self._overwrite and not is_sequence(stored.path):
                pass  # it is replaced, whatever it is; of a sequence, only pictures of a render may be removed
            elif not self._overwrite and (known := recall(_KIND, stored.path, _state(stored))) is not None:
                stored.document = json.loads(known)
            else:
                for name, found in stored.objects.items():
                    self._report(Remote(f"fetching {found.url}, to compare it"))
                    store.get_file(found.url, str(stored.path.with_name(name)))
                    stored.equal.add(name)
                stored.fetched = {*stored.objects}
        self._write_record(stored)

    def _upload(self, stored: _StoredOutput) -> None:
        record, files = self._record(stored), stored.files
        stored.equal = {
            name
            for name, found in stored.objects.items()
            if name in files and record.get(name) == _fact(found, files[name])
        }
        for name, file in files.items():
            if name not in stored.equal:
                url = stored.url_of(name)
                stored.objects[name] = upload(file, url, self._report, overwrite=self._overwrite)
                stored.equal.add(name)
                self._write_record(stored)
        for name in [name for name in stored.objects if files and name not in files]:
            if name in stored.fetched or not is_sequence(stored.path):  # what the publication has removed here
                with writing(stored.url) as store:
                    store.rm_file(stored.objects.pop(name).url)

    def _drop_copies(self, stored: _StoredOutput) -> None:
        """Remove the local files if all are mere copies of objects, as the record of an earlier moment says."""
        record, files = self._record(stored), stored.files
        if all(record.get(name, [])[2:] == _local_fact(file) for name, file in files.items()):
            for file in (*files.values(), stored.record):
                file.unlink(missing_ok=True)

    def _record(self, stored: _StoredOutput) -> dict[str, Any]:
        text = read_sealed(stored.record)
        return {} if text is None else json.loads(text)

    def _write_record(self, stored: _StoredOutput) -> None:
        facts = {name: _fact(stored.objects[name], stored.files[name]) for name in stored.equal if name in stored.files}
        if facts:
            write_sealed(stored.record, json.dumps(facts).encode())


def _objects(store: Any, stored: _StoredOutput) -> dict[str, StoredObject]:
    if is_sequence(stored.path):
        fits = matcher(stored.path.name)
        found = [item for item in list_folder(store, stored.url.rsplit("/", 1)[0]) if fits(item.name)]
    else:
        names = [stored.path.name] + ([sidecar_path(stored.path).name] if has_sidecar(stored.path) else [])
        found = [item for name in names if (item := look_up(store, stored.url_of(name))) is not None]
    return {item.name: item for item in found}


def _fact(found: StoredObject, file: Path) -> list[Any]:
    """Return what holds as long as neither the object nor the local file changes."""
    return [found.version, found.size, *_local_fact(file)]


def _local_fact(file: Path) -> list[int]:
    """Return size and time of a file; nothing if there is none."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _state(stored: _StoredOutput) -> bytes:
    """Return what tells the objects of an output from all earlier ones. 32 bytes, as `files.remembered` wants."""
    facts = sorted((name, found.version, found.size) for name, found in stored.objects.items())
    return hashlib.sha256(json.dumps(facts).encode()).digest()


def _lock_of(path: Path) -> BaseFileLock:
    from filelock import FileLock  # takes a twentieth of a second, and few renders need it

    return FileLock(path.with_name(f".{path.name}.lock"))
