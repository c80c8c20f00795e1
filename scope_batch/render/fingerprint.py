"""Identifies a job, its inputs and its chunks by sha256, so that metadata and stored chunks need no paths."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import cast

from scope_batch.checkpoint.provenance import Provenance, chunk_inputs
from scope_batch.core.canonical import canonical
from scope_batch.core.engine import Engine, EngineRequest, ReproducibleEngine
from scope_batch.core.plan import Plan, ProcessorRef
from scope_batch.core.processor_model import ProcessorRequest
from scope_batch.errors import UnavailableError
from scope_batch.events import Report
from scope_batch.files.cache import file_sha256
from scope_batch.files.image_series import is_pattern, pattern_files
from scope_batch.files.remembered import files_state, recall, remember
from scope_batch.job import Job
from scope_batch.job.faults import Loc
from scope_batch.job.paths import lora_names, named_inputs, public_dict
from scope_batch.job.positions import NO_SOURCE, show
from scope_batch.models.identity import model_digests, processor_digests
from scope_batch.models.layout import VaeType, is_known
from scope_batch.models.lora.alpha import settings_beside
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.processors import PROCESSORS

NOT_ABOUT_FRAMES = ("keep_state", "stop_if")
"""Fields of a job that no frame depends on."""


def job_sha256(job: Job) -> str:
    """Return the sha256 (64 hex digits) of the job with all variables and overrides resolved.

    Folders of inputs, the models and the outputs do not count: inputs count by base name here, by content in
    `input_digests`, and models by content in `model_files_digests`.
    """
    values = job.model_dump(mode="json", exclude_defaults=True, exclude={"output", "models", *NOT_ABOUT_FRAMES})
    text = json.dumps(
        public_dict(values, NO_SOURCE), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def model_files_digests(request: EngineRequest, plan: Plan, report: Report) -> dict[str, str]:
    """Return {role: sha256} of the model files that the engine and the plan's processors are loaded from.

    Empty without models, and if a file is missing: a finished output stays up to date without them.
    """
    spec = request.spec
    vae_type = cast(VaeType, request.vae_type)
    try:
        of_processors = _processor_digests((*plan.pre_processors, *plan.post_processors), request)
        if not spec.needs_models:
            return of_processors
        digests = model_digests(spec.id, request.models, vae_type=vae_type, vace=request.vace, report=report)
        return digests | of_processors
    except UnavailableError:
        return {}


def _processor_digests(processors: Iterable[ProcessorRef], request: EngineRequest) -> dict[str, str]:
    """Return {"depth model.safetensors": sha256} of the model files of the processors."""
    specs = {ref.id: PROCESSORS.get(ref.id) for ref in processors}
    digests: dict[str, str] = {}
    for name, spec in specs.items():
        if spec.model is not None:
            digests |= processor_digests(ProcessorRequest(name, spec.model.files, request.models))
    return digests


def input_digests(job: Job) -> dict[str, str]:
    """Return {field: sha256 of the file or folder that it names}; a LoRA's field ends with its name in metadata."""
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
    """Return the packages of the job's pipeline and processors, "scope-batch-example 0.1.0"; none for built-in ones."""
    uses = (*job.pre_processor_id, *job.post_processor_id)
    packages = [KNOWN_PIPELINES.package(job.pipeline_id), *(PROCESSORS.package(use.id) for use in uses)]
    return sorted({package for package in packages if package is not None})


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, or for a folder the sha256 over the sorted names and digests of its files.

    A LoRA saved by PEFT counts as a folder of two files: weights and settings.
    """
    beside = settings_beside(path)
    if path.is_file() and beside is None:
        return file_sha256(path)
    if is_pattern(path):
        files = pattern_files(path)
    else:
        files = [path, beside] if beside is not None else [file for file in path.iterdir() if file.is_file()]
    files = sorted(files)
    state = files_state(files)
    if (known := recall("folders", path, state)) is not None:  # a folder can have ten thousand pictures
        return known.decode()
    lines = "".join(f"{file_sha256(file)}  {file.name}\n" for file in files)
    digest = hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
    remember("folders", path, state, digest.encode())
    return digest


def provenance_of(plan: Plan, request: EngineRequest) -> Provenance:
    """What the chunks of a plan are made from, but for the environment, which only the engine knows.

    Reads every model file, LoRA and input once; their digests stay in the cache folder.
    """
    spec = request.spec
    engine: dict[str, object] = {
        "pipeline": spec,
        "package": KNOWN_PIPELINES.package(spec.id),
        "width": plan.width,
        "height": plan.height,
        "memory_bank": plan.memory_bank,
        "dtype": request.dtype,
        "vae_dtype": request.vae_dtype,
        "noise_device": request.noise_device,
        "quantization": request.quantization,
        "low_vram": "cast" if request.low_vram == "cast" else None,
        "pre_processors": [(ref.id, ref.parameters, PROCESSORS.package(ref.id)) for ref in plan.pre_processors],
        "loras": [(sha256_of(lora.path), lora.merged) for lora in plan.loras],
    }
    if request.speed != "exact":
        engine["speed"] = request.speed
    vace = None
    if is_known(spec.id):
        uses_vace = any(chunk.vace is not None for chunk in plan.chunks)
        digests = model_digests(spec.id, request.models, vae_type=cast(VaeType, request.vae_type), vace=uses_vace)
        vace = digests.pop("vace", None)
        engine |= digests
    else:  # a plugin, or a pipeline without models: what its engine does with these is not known
        engine |= {"models": request.models, "vae_type": request.vae_type, "deterministic": request.deterministic}
        engine |= {"device": request.device}
    if of_processors := _processor_digests(plan.pre_processors, request):
        engine["models of pre_processors"] = (of_processors, request.device)
    if plan.pre_processors:  # one may look ahead
        engine["placements"] = [replace(placement, where="") for placement in plan.placements]
    if not spec.causal:
        engine["plan"] = replace(plan, notes=(), warnings=(), memory=None).fingerprint()
    digest = cache(sha256_of)  # a path may stand in every chunk

    def path_text(path: PurePath) -> str:
        return digest(Path(path))

    texts = {name: canonical(value, path_text) for name, value in engine.items()}
    return Provenance(texts, {}, chunk_inputs(plan, digest, vace_module=vace))


PACKAGES = ("scope-batch", "torch", "diffusers", "transformers", "peft", "numpy", "pillow", "imageio-ffmpeg")
"""Packages whose version can decide about a pixel."""


def package_versions() -> dict[str, str]:
    """Name -> version of `PACKAGES`, and the ffmpeg that is used in place of the bundled one. Imports none of them."""
    versions = {name: version(name) for name in PACKAGES}
    own_ffmpeg = os.environ.get("IMAGEIO_FFMPEG_EXE")
    return versions | ({"IMAGEIO_FFMPEG_EXE": own_ffmpeg} if own_ffmpeg else {})


def environment_of(engine: Engine) -> dict[str, str]:
    """Return what decides about the last bits of the frames besides job, inputs and models: packages and machine."""
    machine = engine.environment() if isinstance(engine, ReproducibleEngine) else {}
    return {**package_versions(), **machine}
