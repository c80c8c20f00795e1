"""What a render was made from, by content: the sha256 of every input, so that metadata needs no path."""

from __future__ import annotations

import hashlib
from pathlib import Path

from scope_batch.job import Job
from scope_batch.models.cache import file_sha256

NOT_HASHED = frozenset({"input_path", "output"})
"""Where the input lies and where the frames go is no part of what a job asks for; the input's content counts."""


def job_sha256(job: Job) -> str:
    """Of the job with every variable and override resolved: equal jobs ask for the same frames of equal inputs."""
    return hashlib.sha256(job.canonical_json(exclude=NOT_HASHED).encode("utf-8", "surrogatepass")).hexdigest()


def origin_of(job: Job) -> dict[str, str]:
    """Field -> sha256 (64 hex digits) of the file or folder it names; only fields that name one."""
    named = {"input_path": job.input_path, "audio": job.audio}
    return {field: sha256_of(path) for field, path in named.items() if isinstance(path, Path)}


def sha256_of(path: Path) -> str:
    """Of a file its sha256; of a folder the sha256 over the names and digests of its files, sorted."""
    if path.is_file():
        return file_sha256(path)
    files = sorted(file for file in path.iterdir() if file.is_file())
    lines = "".join(f"{sha256_of(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()
