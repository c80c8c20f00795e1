"""Finds model files in the Hugging Face Hub's own cache and links them, without the network."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants

from scope_batch.errors import OutputError, UnavailableError
from scope_batch.models.folder import download_command, is_present
from scope_batch.models.hub import REVISIONS
from scope_batch.models.layout import Artifact


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A file in the Hub's cache. source: its path, links resolved; target: the path from which loaders read it."""

    artifact: Artifact
    source: Path
    target: Path


def is_offline() -> bool:
    """Return True if HF_HUB_OFFLINE forbids requests to the Hub."""
    return bool(constants.HF_HUB_OFFLINE)


def find_cached(artifacts: Sequence[Artifact], folder: Path) -> tuple[CachedFile, ...]:
    """Return the files in the Hub's cache that belong to those `artifacts` that are missing in `folder`."""
    missing = [artifact for artifact in artifacts if not is_present(folder, artifact)]
    return tuple(_cached(artifact, source, folder) for artifact in missing for source in _sources(artifact))


def link_files(cached: Sequence[CachedFile]) -> None:
    """Link the files to their targets, by symbolic links if the cache is on another disk. Raises OutputError."""
    for file in cached:
        try:
            file.target.parent.mkdir(parents=True, exist_ok=True)
            file.target.unlink(missing_ok=True)
            try:
                os.link(file.source, file.target)
            except OSError:
                file.target.symlink_to(file.source)
        except OSError as error:
            raise OutputError(f"{error.filename or file.target}: {error.strerror}") from error


def check_complete(artifacts: Sequence[Artifact], cached: Sequence[CachedFile], folder: Path) -> None:
    """Raise UnavailableError unless `folder` and `cached` together hold all of `artifacts`."""
    available = {file.artifact for file in cached}
    absent = [artifact for artifact in artifacts if artifact not in available and not is_present(folder, artifact)]
    if absent:
        names = ", ".join(f"{artifact.repo}/{artifact.path}" for artifact in absent)
        raise UnavailableError(
            f"HF_HUB_OFFLINE is set, and the Hub's cache {constants.HF_HUB_CACHE} does not hold {names}; "
            f"without it, or on a machine with access: {download_command(folder, absent)}"
        )


def _cached(artifact: Artifact, source: Path, folder: Path) -> CachedFile:
    target = folder / artifact.local
    return CachedFile(artifact, source.resolve(), target / source.name if artifact.probe else target)


def _sources(artifact: Artifact) -> Iterator[Path]:
    name = f"{artifact.path}/{artifact.probe}" if artifact.probe else artifact.path
    path = huggingface_hub.try_to_load_from_cache(artifact.repo, name, revision=REVISIONS.get(artifact.repo))
    if not isinstance(path, str):
        return
    if not artifact.probe:
        yield Path(path)
        return
    with contextlib.suppress(OSError):
        yield from sorted(file for file in Path(path).parent.iterdir() if file.is_file())
