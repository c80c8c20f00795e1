"""What a render was made from, by content: the sha256 of every input, so that metadata needs no path."""

from __future__ import annotations

import hashlib
from pathlib import Path

from scope_batch.job import Job


def origin_of(job: Job) -> dict[str, str]:
    """Field -> sha256 (64 hex digits) of the file or folder it names; only fields that name one."""
    named = {"input_path": job.input_path, "audio": job.audio}
    return {field: sha256_of(path) for field, path in named.items() if isinstance(path, Path)}


def sha256_of(path: Path) -> str:
    """Of a file its sha256; of a folder the sha256 over the names and digests of its files, sorted."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(file for file in path.iterdir() if file.is_file())
    lines = "".join(f"{sha256_of(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()
