"""Uploads files to shared storage, so that an object appears whole under its name or not at all."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from scope_batch.errors import OutputExistsError
from scope_batch.events import Remote, Report, Warned, silent
from scope_batch.storage.store import StoredObject, look_up, scheme_of, writing

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

PART_BYTES = 16 * 2**20
"""Size of the parts of an S3 upload. An object of two parts or more is a multipart upload, completed last."""
_MOST_PARTS = 10_000
_COMPARED_BYTES = 8 * 2**20


def upload(path: Path, url: str, report: Report = silent, *, overwrite: bool) -> StoredObject:
    """Upload the file `path` to `url`. On failure there is nothing new under that name.

    What an earlier upload to this name left unfinished, because it was killed, is removed first.
    Raises OutputExistsError if another object is there and `overwrite` is False, OutputError if the upload fails.
    """
    size = path.stat().st_size
    with writing(url) as store:
        _abort_unfinished(store, url, report)
        report(Remote(f"uploading {url}, {decimal(size)}"))
        try:
            store.put_file(str(path), url, **_options(url, size, overwrite=overwrite))
        except FileExistsError:
            if not has_content(store, url, path):  # else the answer to our own upload was lost, and it was repeated
                raise OutputExistsError(f"{url}: exists; replace it with --overwrite") from None
        store.invalidate_cache()
        stored = look_up(store, url)
        if stored is None or stored.size != size:
            raise OSError(f"{url} was not stored whole")
        return stored


def has_content(store: AbstractFileSystem, url: str, path: Path) -> bool:
    """Return whether the object has the same bytes as the file."""
    stored, size = look_up(store, url), path.stat().st_size
    if stored is None or stored.size != size:
        return False
    with path.open("rb") as file:
        return all(
            store.cat_file(url, start=start, end=min(start + _COMPARED_BYTES, size)) == file.read(_COMPARED_BYTES)
            for start in range(0, size, _COMPARED_BYTES)
        )


def _options(url: str, size: int, *, overwrite: bool) -> dict[str, Any]:
    if scheme_of(url) != "s3":
        return {}
    options: dict[str, Any] = {"chunksize": max(PART_BYTES, -(-size // _MOST_PARTS))}
    return options if overwrite else options | {"mode": "create"}


def _abort_unfinished(store: AbstractFileSystem, url: str, report: Report) -> None:
    """Abort the unfinished multipart uploads to this very name. Other storage forgets them by itself."""
    if scheme_of(url) != "s3":
        return
    bucket, key = url.removeprefix("s3://").split("/", 1)
    try:
        answer = store.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=key)
        for unfinished in answer.get("Uploads", []):
            if unfinished["Key"] == key:
                store.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=unfinished["UploadId"])
    except FileNotFoundError:
        return  # no such bucket, which the upload reports; or it ended meanwhile
    except OSError as error:
        if not isinstance(error, PermissionError) and error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        report(Warned(f"{url}: unfinished uploads of earlier runs cannot be looked for: the storage does not allow it"))
