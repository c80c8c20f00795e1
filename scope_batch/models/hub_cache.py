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
    """`source`: the file in the Hub's cache, links resolved. `target`: where the loaders look for it."""

    artifact: Artifact
    source: Path
    target: Path


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask the Hub."""
    return bool(constants.HF_HUB_OFFLINE)


def find_cached(artifacts: Sequence[Artifact], folder: Path) -> tuple[CachedFile, ...]:
    """What the Hub's cache holds of the `artifacts` that `folder` lacks."""
    missing = [artifact for artifact in artifacts if not is_present(folder, artifact)]
    return tuple(_cached(artifact, source, folder) for artifact in missing for source in _sources(artifact))


def link_files(cached: Sequence[CachedFile]) -> None:
    """Link them into place, by a symbolic link where the cache is on another disk. Raises OutputError."""
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
    found = {file.artifact for file in cached}
    absent = [artifact for artifact in artifacts if artifact not in found and not is_present(folder, artifact)]
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
    found = huggingface_hub.try_to_load_from_cache(artifact.repo, name, revision=REVISIONS.get(artifact.repo))
    if not isinstance(found, str):
        return
    if not artifact.probe:
        yield Path(found)
        return
    with contextlib.suppress(OSError):
        yield from sorted(file for file in Path(found).parent.iterdir() if file.is_file())
