"""Fetches missing model files from the Hugging Face Hub into the layout that the loaders read.

Error messages of the libraries are not passed on, because they may contain signed addresses, which are secrets.
"""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import errors as hub_errors
from huggingface_hub import utils as hub_utils
from rich.filesize import decimal

from scope_batch.errors import OutputError, ScopeBatchError, TemporaryError, UnavailableError
from scope_batch.models.folder import download_command, is_present, repo_folder
from scope_batch.models.hub import REVISIONS, page_of
from scope_batch.models.layout import Artifact

_HTTP_ERROR: type[Exception] = hub_errors.HTTPError  # type: ignore[attr-defined]  # of the HTTP client that the library uses
_LOGIN = "log in with `hf auth login` (or set HF_TOKEN) and pull again"


@dataclass(frozen=True, slots=True)
class Fetch:
    """The download from one repository. files, size_bytes: without files that an earlier pull has fetched."""

    repo: str
    artifacts: tuple[Artifact, ...]
    target: Path
    files: int
    size_bytes: int


def plan_fetches(artifacts: Sequence[Artifact], folder: Path) -> tuple[Fetch, ...]:
    """Ask the Hub which files must be fetched so that `folder` has all `artifacts`. Nothing is written.

    Raises UnavailableError (no access, no such file), TemporaryError (the Hub cannot be reached).
    """
    missing = [artifact for artifact in artifacts if not is_present(folder, artifact)]
    repos = dict.fromkeys(artifact.repo for artifact in missing)
    command = download_command(folder, missing)
    return tuple(_plan(repo, tuple(a for a in missing if a.repo == repo), folder, command) for repo in repos)


def check_room(fetches: Sequence[Fetch], folder: Path) -> None:
    """Raise OutputError if the disk has less free space than the files to fetch need."""
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    needed, free = sum(fetch.size_bytes for fetch in fetches), shutil.disk_usage(existing).free
    if needed > free:
        raise OutputError(
            f"{folder}: {decimal(needed)} are to be fetched, {decimal(free)} are free; "
            "make room, or name another disk with --models"
        )


def fetch_files(fetch: Fetch, folder: Path) -> None:
    """Fetch the missing files of one repository. An interrupted download is continued.

    Raises as `plan_fetches`, and OutputError if the disk cannot be written. Progress goes to standard error if the
    Hub's progress bars are enabled.
    """
    command = download_command(folder, fetch.artifacts)
    _snapshot(fetch.repo, fetch.artifacts, folder, command, dry_run=False)
    _check_all_there(fetch.repo, [a for a in fetch.artifacts if not is_present(folder, a)])


def show_progress(*, shown: bool) -> None:
    """Enable or disable the progress bars of the Hub's library. HF_HUB_DISABLE_PROGRESS_BARS takes precedence."""
    switch = "enable_progress_bars" if shown else "disable_progress_bars"
    with warnings.catch_warnings(action="ignore"):  # it warns if the environment variable wins
        getattr(hub_utils, switch)()


def _plan(repo: str, artifacts: tuple[Artifact, ...], folder: Path, command: str) -> Fetch:
    listed = _snapshot(repo, artifacts, folder, command, dry_run=True)
    names = {file.filename for file in listed}
    _check_all_there(repo, [a for a in artifacts if (f"{a.path}/{a.probe}" if a.probe else a.path) not in names])
    missing = [file for file in listed if file.will_download]
    size_bytes = sum(file.file_size or 0 for file in missing)
    return Fetch(repo, artifacts, folder / repo_folder(repo), len(missing), size_bytes)


def _snapshot(repo: str, artifacts: Sequence[Artifact], folder: Path, command: str, *, dry_run: bool) -> Any:
    """Call the Hub. command: the shell command for a manual download, for error messages."""
    with _translated_errors(repo, command):
        return huggingface_hub.snapshot_download(
            repo,
            revision=REVISIONS.get(repo),
            allow_patterns=[artifact.pattern for artifact in artifacts],
            local_dir=folder / repo_folder(repo),
            dry_run=dry_run,
        )


def _check_all_there(repo: str, absent: Sequence[Artifact]) -> None:
    if absent:
        names = ", ".join(artifact.path for artifact in absent)
        raise UnavailableError(f"{repo}: does not hold {names}; see {page_of(repo)}")


@contextlib.contextmanager
def _translated_errors(repo: str, command: str) -> Iterator[None]:
    try:
        yield
    except (_HTTP_ERROR, OSError, RuntimeError, hub_errors.EntryNotFoundError) as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
            # An error of this machine's disk: the errors of the Hub's library have no errno.
            raise OutputError(f"{error.filename or repo}: {error.strerror}") from error
        answers = (hub_errors.HfHubHTTPError, hub_errors.OfflineModeIsEnabled)
        known = next((link for link in (error, error.__cause__) if isinstance(link, answers)), error.__cause__ or error)
        raise _error_for(known, repo, command) from error


def _error_for(error: BaseException, repo: str, command: str) -> ScopeBatchError:
    page = page_of(repo)
    match error:
        case hub_errors.GatedRepoError():
            return UnavailableError(f"{repo}: gated: ask for access on {page}, then {_LOGIN}")
        case hub_errors.RepositoryNotFoundError():
            return UnavailableError(f"{repo}: no such repository, or not for everybody: see {page}, then {_LOGIN}")
        case hub_errors.RevisionNotFoundError():
            return UnavailableError(f"{repo}: has no revision {REVISIONS.get(repo, 'main')}; see {page}")
        case hub_errors.OfflineModeIsEnabled():
            return TemporaryError(f"{repo}: HF_HUB_OFFLINE is set; without it: {command}")
        case hub_errors.HfHubHTTPError() if error.response.status_code in (401, 403):
            return UnavailableError(f"{repo}: access denied (HTTP {error.response.status_code}): {_LOGIN}")
        case hub_errors.HfHubHTTPError():
            answer = f"the Hub answers HTTP {error.response.status_code}"
        case _:
            answer = f"the Hub cannot be reached, or the download broke off ({type(error).__name__})"
    return TemporaryError(
        f"{repo}: {answer}; pull again to continue the download, or run on a machine with access: {command}"
    )
