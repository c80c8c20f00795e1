"""Checks model files by their headers against what the loaders need, file by file, without loading them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from diffusers import WanTransformer3DModel, WanVACETransformer3DModel

from scope_batch.errors import JobError
from scope_batch.events import Event, Report, Warned
from scope_batch.models.architecture import read_heads
from scope_batch.models.checkpoint import read_header, read_shapes
from scope_batch.models.folder import ModelFiles, model_files, size_on_disk, wanted_artifacts
from scope_batch.models.layout import Artifact, Role, VaeType
from scope_batch.models.lora.weights import builtin_lora_layout
from scope_batch.models.modules import empty_text_encoder, empty_transformer, empty_vae, load_tokenizer

State = Literal["ok", "missing", "wrong", "unknown"]


@dataclass(frozen=True, slots=True)
class FileCheck:
    """The result of the check of one file or folder.

    size_bytes  None if it is missing.
    state       "unknown": it can be read, but not compared, because another file is missing or wrong.
    problem     the reason why `state` is not "ok", one line with the path; "" if it is "ok".
    warnings    warnings that the loader would report.
    """

    artifact: Artifact
    path: Path
    size_bytes: int | None
    state: State
    problem: str = ""
    warnings: tuple[str, ...] = ()


_NEEDS: Mapping[Role, tuple[Role, ...]] = {
    "backbone": ("config",),
    "builtin_lora": ("config", "backbone"),
    "vace": ("config", "backbone"),
}
"""Files that a file is compared with."""


@dataclass(slots=True)
class Checker:
    """Checks the model files in `folder`. A file that several pipelines share is checked once."""

    folder: Path
    _shared: dict[Path, FileCheck] = field(default_factory=dict)

    def check(self, pipeline_id: str, *, vae_type: VaeType = "wan", vace: bool = False) -> tuple[FileCheck, ...]:
        """Return one result per file that `pipeline_id` reads, in the layout's order.

        Raises KeyError if the pipeline needs no model files.
        """
        artifacts = wanted_artifacts(pipeline_id, self.folder, vae_type=vae_type, vace=vace)
        files = model_files(self.folder, artifacts)
        results: dict[Role, FileCheck] = {}
        for artifact in artifacts:
            path = self.folder / artifact.local
            result = self._shared.get(path) or self._check(artifact, path, files, results)
            results[artifact.role] = result
            if artifact.role not in _NEEDS:
                self._shared[path] = result
        return tuple(results.values())

    def _check(self, artifact: Artifact, path: Path, files: ModelFiles, results: Mapping[Role, FileCheck]) -> FileCheck:
        size_bytes = size_on_disk(self.folder, artifact)
        if size_bytes is None:
            return FileCheck(artifact, path, None, "missing", f"{path}: missing")
        unusable = [results[role].path.name for role in _NEEDS.get(artifact.role, ()) if results[role].state != "ok"]
        warnings: list[str] = []
        try:
            if unusable:
                read_shapes(path)
                why = f"{path}: can be read, but not checked without a sound {' and '.join(unusable)}"
                return FileCheck(artifact, path, size_bytes, "unknown", why)
            _CHECKS[artifact.role](files, _collect_in(warnings))
        except JobError as error:
            return FileCheck(artifact, path, size_bytes, "wrong", str(error))
        return FileCheck(artifact, path, size_bytes, "ok", warnings=tuple(warnings))


def check_processor(folder: Path, artifacts: Sequence[Artifact]) -> tuple[FileCheck, ...]:
    """Return one result per file of a processor's model. Only its format is checked: the loader compares the keys."""
    results = []
    for artifact in artifacts:
        path, size_bytes = folder / artifact.local, size_on_disk(folder, artifact)
        state: State = "ok" if size_bytes is not None else "missing"
        problem = "" if size_bytes is not None else f"{path}: missing"
        try:
            if size_bytes is not None and path.suffix == ".safetensors":
                read_shapes(path)
            elif size_bytes is not None and path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
        except (JobError, ValueError) as error:
            state, problem = "wrong", str(error) if isinstance(error, JobError) else f"{path}: is no JSON: {error}"
        results.append(FileCheck(artifact, path, size_bytes, state, problem))
    return tuple(results)


def all_ok(checks: Sequence[FileCheck]) -> bool:
    return all(check.state == "ok" for check in checks)


def _collect_in(warnings: list[str]) -> Report:
    def report(event: Event) -> None:
        if isinstance(event, Warned):
            warnings.append(event.message)

    return report


def _config(files: ModelFiles, _: Report) -> None:
    read_heads(files.config)


def _backbone(files: ModelFiles, report: Report) -> None:
    empty_transformer(files.backbone, files.config, None, kind=WanTransformer3DModel, report=report)


def _builtin_lora(files: ModelFiles, _: Report) -> None:
    assert files.builtin_lora
    header = read_header(files.builtin_lora)
    _, backbone = empty_transformer(files.backbone, files.config, None, kind=WanTransformer3DModel)
    builtin_lora_layout(files.builtin_lora, header, backbone, files.backbone.name)


def _vae(files: ModelFiles, report: Report) -> None:
    empty_vae(files.vae, files.vae_type, report)


def _text_encoder(files: ModelFiles, report: Report) -> None:
    empty_text_encoder(files.text_encoder, report)


def _tokenizer(files: ModelFiles, _: Report) -> None:
    load_tokenizer(files)


def _vace(files: ModelFiles, report: Report) -> None:
    empty_transformer(files.backbone, files.config, files.vace, kind=WanVACETransformer3DModel, report=report)


_CHECKS: Mapping[Role, Callable[[ModelFiles, Report], None]] = {
    "config": _config,
    "backbone": _backbone,
    "builtin_lora": _builtin_lora,
    "vae": _vae,
    "text_encoder": _text_encoder,
    "tokenizer": _tokenizer,
    "vace": _vace,
}
