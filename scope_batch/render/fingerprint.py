"""Identifies the inputs of a render by content: the sha256 of every file, so that metadata needs no path."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from scope_batch.files.image_series import is_pattern, pattern_files
from scope_batch.job import Job
from scope_batch.job.faults import Loc
from scope_batch.job.paths import lora_names, named_inputs, public_dict
from scope_batch.job.positions import NO_SOURCE, show
from scope_batch.models.cache import file_sha256
from scope_batch.models.lora.alpha import settings_beside
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.processors import PROCESSORS


def job_sha256(job: Job) -> str:
    """Of the job with every variable and override resolved: equal jobs ask for the same frames of equal inputs.

    Where inputs lie and where the frames go is no part of that: inputs count by base name here, by content in
    `origin_of`.
    """
    asked = job.model_dump(mode="json", exclude_defaults=True, exclude={"output"})
    named = {**public_dict(asked, NO_SOURCE), **({"models": asked["models"]} if "models" in asked else {})}
    text = json.dumps(named, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def origin_of(job: Job) -> dict[str, str]:
    """Place -> sha256 (64 hex digits) of the file or folder it names; a LoRA's place ends with its name in metadata."""
    digests: dict[Path, str] = {}
    for _, path in named_inputs(job):
        if path not in digests:
            digests[path] = sha256_of(path)
    loras = lora_names(
        job.model_dump(mode="json", include={"lora_scales": True, "chunk_specs": {"__all__": {"lora_scales"}}})
    )
    return {_name(loc, loras): digests[path] for loc, path in named_inputs(job)}


def _name(loc: Loc, loras: Mapping[str, str]) -> str:
    *field, last = loc
    return show((*field, loras[str(last)]) if field[-1:] == ["lora_scales"] else loc)


def plugins_of(job: Job) -> list[str]:
    """The packages that bring the job's pipeline and processors, "scope-batch-example 0.1.0"; built-in ones do not."""
    uses = (*job.pre_processor_id, *job.post_processor_id)
    packages = [KNOWN_PIPELINES.package(job.pipeline_id), *(PROCESSORS.package(use.id) for use in uses)]
    return sorted({package for package in packages if package is not None})


def sha256_of(path: Path) -> str:
    """Of a file its sha256; of a folder the sha256 over the names and digests of its files, sorted.

    A LoRA that PEFT saved counts as the folder of its two files.
    """
    beside = settings_beside(path)
    if path.is_file() and beside is None:
        return file_sha256(path)
    if is_pattern(path):
        files = pattern_files(path)
    else:
        files = [path, beside] if beside is not None else [file for file in path.iterdir() if file.is_file()]
    lines = "".join(f"{file_sha256(file)}  {file.name}\n" for file in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()
