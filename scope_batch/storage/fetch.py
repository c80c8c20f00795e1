"""Brings the local copies of inputs in shared storage up to date: objects, folders and patterns of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.filesize import decimal

from scope_batch.errors import MissingInputError, OutputError, TemporaryError, UnavailableError
from scope_batch.events import Remote, Report, silent
from scope_batch.files.image_series import is_pattern, matcher
from scope_batch.files.urls import copy_path, is_url, url_of
from scope_batch.storage import copies
from scope_batch.storage.store import StoredObject, list_folder, look_up, reading

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

PLAN_BYTES = 256_000_000
"""Objects of up to this size are fetched to plan a job; of larger ones the copy must be there already."""
_HEADER_LENGTH_BYTES = 8


def fetch(path: Path, report: Report = silent, limit: int | None = None, *, header: bool = False) -> None:
    """Bring the local copy `path` of a URL up to date. An object that has not changed is not read.

    limit   most bytes of one object to fetch; None: no limit.
    header  of a larger safetensors file the header is fetched: its copy has the whole size, and does not count as one.
    Raises MissingInputError (no such object), UnavailableError (no access; larger than `limit`), TemporaryError (the
    storage cannot be reached, the object was changed meanwhile), OutputError (no room for the copy).
    """
    url = url_of(path)
    assert url is not None, path
    with reading(url) as store:
        if (stored := look_up(store, url)) is not None:
            _update(store, path, stored, report, limit, header=header)
            return
        folder, name = path.parent, path.name
        if is_pattern(path):
            fits = matcher(name)
            found = [item for item in list_folder(store, url.rsplit("/", 1)[0]) if fits(item.name)]
            old = [file for file in _files(folder) if fits(file.name)]
        else:
            folder, found = path, list_folder(store, url)
            old = _files(folder)
        names = {item.name for item in found}
        for file in old:
            if file.name not in names:
                copies.drop(file)
        if not found:
            if path.is_file():
                copies.drop(path)
            raise MissingInputError(f"{url}: no such object, and no folder with objects in it")
        for item in sorted(found, key=lambda item: item.name):
            _update(store, folder / item.name, item, report, limit)


def fetch_if_there(path: Path, report: Report = silent, limit: int | None = None) -> bool:
    """Call `fetch`; returns False, without a copy, if there is no such object."""
    try:
        fetch(path, report, limit)
    except MissingInputError:
        return False
    return True


def fetch_argument(text: str) -> str:
    """Return a path for an argument of the command line: for a URL that of its copy, up to date, else as it is.

    With an array or raw video comes the file beside it that holds its job.
    Raises MissingInputError for a URL that cannot be used, and as `fetch`.
    """
    if not is_url(text):
        return text
    try:
        path = copy_path(text)
    except ValueError as error:
        raise MissingInputError(str(error)) from None
    fetch(path)
    if path.suffix.lower() in (".npy", ".nut"):
        fetch_if_there(path.with_name(f"{path.name}.json"))
    return str(path)


def _update(
    store: AbstractFileSystem,
    path: Path,
    stored: StoredObject,
    report: Report,
    limit: int | None,
    *,
    header: bool = False,
) -> None:
    if not copies.is_current(path, stored):
        if limit is not None and stored.size > limit:
            is_whole = path.exists() and path.stat().st_blocks * 512 >= path.stat().st_size
            if not header or is_whole:  # an outdated copy may be in use by another process
                raise UnavailableError(
                    f"{stored.url}: its copy here is missing or outdated; {decimal(stored.size)} are more than a plan "
                    f"fetches ({decimal(limit)}); `scope-batch plan --fetch` fetches it, as a render does"
                )
            _fetch_header(store, path, stored, limit)
            return
        _download(store, path, stored, report)
    copies.use(path)


def _download(store: AbstractFileSystem, path: Path, stored: StoredObject, report: Report) -> None:
    with copies.replacing_copy(path, stored) as part:
        if part is None:
            return
        report(Remote(f"fetching {stored.url}, {decimal(stored.size)}"))
        store.get_file(stored.url, str(part))
        got = part.stat().st_size if part.exists() else 0
        if got != stored.size or look_up(store, stored.url) != stored:
            raise TemporaryError(f"{stored.url}: was changed while it was read, or was not read whole; try again")


def _fetch_header(store: AbstractFileSystem, path: Path, stored: StoredObject, limit: int) -> None:
    length = int.from_bytes(store.cat_file(stored.url, start=0, end=_HEADER_LENGTH_BYTES), "little")
    end = min(_HEADER_LENGTH_BYTES + length, limit, stored.size)
    header = store.cat_file(stored.url, start=0, end=end)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(header)
            file.truncate(stored.size)
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}") from error


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []
