"""Identifies the model files of a pipeline by their content. Torch-free."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from scope_batch.core.processor_model import ProcessorRequest
from scope_batch.events import Loading, Report, silent
from scope_batch.files.cache import file_sha256
from scope_batch.models.folder import RANDOM, RANDOM_VERSION, TINY, TINY_VERSION, ModelFiles, find_models
from scope_batch.models.layout import VaeType, is_known
from scope_batch.models.processor_files import find_processor_files


def model_digests(
    pipeline_id: str, asked: str | None, *, vae_type: VaeType = "wan", vace: bool = False, report: Report = silent
) -> dict[str, str]:
    """Role of a file -> its sha256 (64 hex digits), of a folder that of its files' names and digests.

    Arguments as for `find_models`. A file is read once, which `report` tells; its digest is kept in the cache until the
    file changes. Empty for the pipeline of a plugin, which manages its own files.
    Raises UnavailableError for files that are missing.
    """
    for name, version in ((TINY, TINY_VERSION), (RANDOM, RANDOM_VERSION)):
        if asked == name:
            return {"models": f"{name}, version {version}", "vae_type": vae_type}
    if not is_known(pipeline_id):
        return {}
    return digests_of(find_models(pipeline_id, asked, vae_type=vae_type, vace=vace, report=report), report)


def processor_digests(request: ProcessorRequest) -> dict[str, str]:
    """Return "processor file" -> its sha256, as `model_digests` for the files of a processor's model."""
    if request.models == TINY:
        return {"models": f"{TINY}, version {TINY_VERSION}"}
    return {f"{request.processor} {path.name}": file_sha256(path) for path in find_processor_files(request)}


def digests_of(files: ModelFiles, report: Report = silent) -> dict[str, str]:
    paths = {field.name: getattr(files, field.name) for field in dataclasses.fields(files)}
    digests = {role: _digest(role, path, report) for role, path in paths.items() if isinstance(path, Path)}
    return digests | {"vae_type": files.vae_type}


def _digest(role: str, path: Path, report: Report) -> str:
    is_folder = path.is_dir()
    inside = sorted(file for file in path.rglob("*") if file.is_file()) if is_folder else [path]
    told: list[str] = []

    def before() -> None:
        if not told:
            told.append(role)
            report(Loading(f"{role.replace('_', ' ')}, for its checksum"))

    digests = [file_sha256(file, before) for file in inside]
    if not is_folder:
        return digests[0]
    lines = "".join(f"{digest}  {file.relative_to(path)}\n" for digest, file in zip(digests, inside, strict=True))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
