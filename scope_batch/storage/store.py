"""Opens the storage behind a URL, and turns its errors into lines without secrets."""

from __future__ import annotations

import contextlib
import importlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_batch.errors import MissingInputError, OutputError, TemporaryError, UnavailableError
from scope_batch.files.urls import EXTRAS, PACKAGES

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_FAULTS = {
    "s3": (("botocore.exceptions", "BotoCoreError"), ("botocore.exceptions", "ClientError"),
           ("aiohttp", "ClientError")),
    "gs": (("gcsfs.retry", "HttpError"), ("google.auth.exceptions", "GoogleAuthError"), ("aiohttp", "ClientError")),
    "hf": (("huggingface_hub.errors", "HTTPError"), ("huggingface_hub.errors", "OfflineModeIsEnabled")),
}  # fmt: skip
"""Scheme -> errors of its packages that are no OSError."""
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "RefreshError")
_VERSION_FACTS = ("ETag", "etag", "generation", "xet_hash", "blob_id", "md5Hash", "mtime", "created", "LastModified")
"""Facts of which the first that a storage knows differs between two versions of one object."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object. version: a text that is another one whenever the object was written anew."""

    url: str
    size: int
    version: str

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def open_store(url: str) -> AbstractFileSystem:
    """Return fsspec's file system for the scheme of `url`.

    Raises UnavailableError, which names the extra to install, if a package is missing.
    """
    scheme = scheme_of(url)
    try:
        import fsspec.asyn

        store = fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        extra = f"; pip install 'scope-batch[{EXTRAS[scheme]}]' installs it" if scheme in EXTRAS else ""
        raise UnavailableError(f"{scheme}:// needs the package {PACKAGES[scheme]}{extra}") from error
    fsspec.asyn.get_loop().set_exception_handler(_drop)
    store.invalidate_cache()
    return store


def _drop(_: object, __: object) -> None:
    """Drop what asyncio reports about the parts of a transfer that has failed: the failure itself is raised."""


def scheme_of(url: str) -> str:
    return url.split("://", 1)[0]


@contextlib.contextmanager
def reading(url: str) -> Iterator[AbstractFileSystem]:
    """Yield the storage for reading `url`.

    Raises MissingInputError (no such object), UnavailableError (no access, a missing package), TemporaryError (it
    cannot be reached, or broke off), OutputError (the local disk cannot be written).
    """
    store = open_store(url)
    try:
        yield store
    except FileNotFoundError as error:
        raise MissingInputError(f"{url}: no such object") from error
    except faults(url) as error:
        _raise_local(error)
        if (reason := _denied(error)) is not None:
            raise UnavailableError(f"{url}: cannot be read: {reason}") from error
        raise TemporaryError(f"{url}: cannot be read: {_broken(error)}") from error


@contextlib.contextmanager
def writing(url: str) -> Iterator[AbstractFileSystem]:
    """Yield the storage for writing `url`. Raises OutputError, or UnavailableError for a missing package."""
    store = open_store(url)
    try:
        yield store
    except FileNotFoundError as error:
        raise OutputError(f"{url}: cannot be written: no such bucket or folder") from error
    except faults(url) as error:
        _raise_local(error)
        raise OutputError(f"{url}: cannot be written: {_denied(error) or _broken(error)}") from error


def look_up(store: AbstractFileSystem, url: str) -> StoredObject | None:
    """Return the object at `url`; None if there is none, or a folder. Raises what the storage raises."""
    try:
        info = store.info(url)
    except FileNotFoundError:
        return None
    return _object(url, info) if info["type"] == "file" else None


def require_bucket(store: AbstractFileSystem, url: str) -> None:
    """Raise FileNotFoundError if the bucket of `url` does not exist; a bucket that may not be looked at passes."""
    if scheme_of(url) != "hf":
        with contextlib.suppress(PermissionError):
            store.info("/".join(url.split("/")[:3]))


def list_folder(store: AbstractFileSystem, url: str) -> list[StoredObject]:
    """Return the objects directly in the folder `url`, none if there is no such folder."""
    try:
        entries = store.ls(url, detail=True)
    except FileNotFoundError:
        return []
    files = [(entry["name"].rstrip("/").rsplit("/", 1)[-1], entry) for entry in entries if entry["type"] == "file"]
    return [_object(f"{url}/{name}", entry) for name, entry in files]


def _object(url: str, info: dict[str, Any]) -> StoredObject:
    fact = next((f"{name} {info[name]}" for name in _VERSION_FACTS if info.get(name) is not None), "")
    return StoredObject(url, int(info["size"] or 0), fact)


def faults(url: str) -> tuple[type[BaseException], ...]:
    """Return the types of the errors that the storage of `url` raises; its package is imported already."""
    named = _FAULTS.get(scheme_of(url), ())
    return (OSError, *(getattr(importlib.import_module(module), name) for module, name in named))


def _raise_local(error: BaseException) -> None:
    """Raise an OutputError for an error of this machine's disk: those of a storage name no file."""
    if isinstance(error, OSError) and error.filename is not None and error.errno is not None:
        raise OutputError(f"{error.filename}: {error.strerror}") from error


def _denied(error: BaseException) -> str | None:
    if isinstance(error, PermissionError):
        return "access denied"
    status = getattr(getattr(error, "response", None), "status_code", None) or getattr(error, "code", None)
    if status in (401, 403, "401", "403"):
        return "access denied"
    if any(kind.__name__ in _NO_CREDENTIALS for kind in type(error).__mro__):
        return "no credentials were found"
    return None


def _broken(error: BaseException) -> str:
    """Name the kind of the error alone: its text may hold a signed address."""
    cause = error.__cause__ if isinstance(error, OSError) and error.__cause__ is not None else error
    code = getattr(cause, "response", None)
    detail = code["Error"].get("Code", "") if isinstance(code, dict) and "Error" in code else ""
    return f"the storage cannot be reached or broke off ({detail or type(cause).__name__})"


def disk_free(folder: Path) -> int:
    """Return the free bytes on the disk of `folder`, which need not exist."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.is_dir())).free
