"""Identifies the model files of a pipeline by their content. Torch-free."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from scope_batch.models.cache import file_sha256
from scope_batch.models.folder import TINY, TINY_VERSION, ModelFiles, find_models
from scope_batch.models.layout import VaeType


def model_digests(
    pipeline_id: str, asked: str | None, *, vae_type: VaeType = "wan", vace: bool = False
) -> dict[str, str]:
    """Role of a file -> its sha256 (64 hex digits), of a folder that of its files' names and digests.

    Arguments as for `find_models`. A file is read once; its digest is kept in the cache until the file changes.
    Raises UnavailableError for files that are missing.
    """
    if asked == TINY:
        return {"models": f"{TINY}, version {TINY_VERSION}", "vae_type": vae_type}
    return digests_of(find_models(pipeline_id, asked, vae_type=vae_type, vace=vace))


def digests_of(files: ModelFiles) -> dict[str, str]:
    paths = {field.name: getattr(files, field.name) for field in dataclasses.fields(files)}
    return {role: _digest(path) for role, path in paths.items() if isinstance(path, Path)} | {
        "vae_type": files.vae_type
    }


def _digest(path: Path) -> str:
    if not path.is_dir():
        return file_sha256(path)
    inside = sorted(file for file in path.rglob("*") if file.is_file())
    lines = "".join(f"{file_sha256(file)}  {file.relative_to(path)}\n" for file in inside)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
