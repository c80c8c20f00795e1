"""Turns a job into what a server can take: its fields with names in place of paths, and the files behind the names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scope_batch.errors import JobError
from scope_batch.files.image_series import folder_files, is_pattern, pattern_files
from scope_batch.files.urls import local_path
from scope_batch.job import Job
from scope_batch.job.faults import Loc
from scope_batch.job.paths import with_paths
from scope_batch.job.positions import show
from scope_batch.models.folder import TINY
from scope_batch.render.fingerprint import sha256_of

DONE_HERE = ("output", "video", "keep_state", "models")
"""Fields that the server does not get; of `models` only `tiny` has a meaning on another machine."""
MAX_NAME_BYTES = 200


@dataclass(slots=True)
class Packed:
    """fields: the job's JSON values; files: name in them -> file; loras: name in `lora_scales` -> sha256."""

    fields: dict[str, Any]
    files: dict[str, Path] = field(default_factory=dict)
    loras: dict[str, str] = field(default_factory=dict)


def pack(job: Job) -> Packed:
    """Pack a job whose inputs exist. LoRAs are not sent: the server must have them.

    Raises JobError for a file that cannot be told from another, or that a processor names and that is not here.
    """
    values = job.model_dump(mode="json", exclude_unset=True, exclude={*DONE_HERE})
    if job.models == TINY:
        values["models"] = TINY
    packing = _Packing(job, Packed({}))
    packing.packed.fields = {
        name: with_paths(value, name, (name,), packing.name_of) for name, value in values.items() if name != "models"
    } | {name: value for name, value in values.items() if name == "models"}
    return packing.packed


@dataclass(slots=True)
class _Packing:
    job: Job
    packed: Packed
    names: dict[Path, str] = field(default_factory=dict)
    loras: dict[str, Path] = field(default_factory=dict)

    def name_of(self, text: str, field_name: str, loc: Loc) -> str:
        """Return the name under which the server knows the file of a field, and note the file."""
        path = local_path(text)
        if field_name == "lora_scales":
            return self._lora(path, loc)
        if "params" in loc and not path.is_file():
            raise JobError(f"{self.job.where(*loc)}: {show(loc)}: {text}: is no file here, so it cannot be sent")
        if path not in self.names:
            self.names[path] = f"{len(self.names)}/{_sendable(path.name)}"
            self._add(self.names[path], path)
        return self.names[path]

    def _add(self, name: str, path: Path) -> None:
        folder = name.rpartition("/")[0]
        if is_pattern(path):
            self.packed.files |= {f"{folder}/{file.name}": file for file in pattern_files(path)}
        elif path.is_dir():
            self.packed.files |= {f"{name}/{file.name}": file for file in folder_files(path)}
        else:
            self.packed.files[name] = path

    def _lora(self, path: Path, loc: Loc) -> str:
        other = self.loras.setdefault(path.name, path)
        if sha256_of(other) != sha256_of(path):
            raise JobError(f"{self.job.where(*loc)}: {show(loc)}: {path} and {other}: two LoRAs need two names")
        self.packed.loras[path.name] = sha256_of(path)
        return path.name


def _sendable(name: str) -> str:
    """Return the name of a file as it is, if another machine can take it, else a plain one with the same extension."""
    if name.isprintable() and "\\" not in name and len(name.encode()) <= MAX_NAME_BYTES:
        return name
    suffix = Path(name).suffix
    return f"input{suffix if suffix.isascii() and suffix.isprintable() else ''}"
