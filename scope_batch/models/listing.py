"""Lists every pipeline and processor with its model files and their sizes on disk. Torch-free; opens no file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scope_batch.errors import UnavailableError
from scope_batch.models.folder import size_on_disk, wanted_artifacts
from scope_batch.models.layout import VAES, Artifact, VaeType, artifacts, is_known
from scope_batch.models.processor_files import artifacts_of
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.processors import PROCESSORS

DEFAULT_VAE: VaeType = "wan"
FOR_VACE = "VACE"


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A model file. needed_for: the option that needs it, "" = always; size_bytes: None if it is missing."""

    artifact: Artifact
    needed_for: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class ListedPipeline:
    """A pipeline, or a processor with a model, and its model files.

    package       the plugin that provides it; None if it is built in.
    problem       the reason why it cannot be used; "" if it can.
    needs_models  True with empty `files`: a plugin that manages its own files.
    """

    id: str
    summary: str
    package: str | None
    problem: str
    needs_models: bool
    files: tuple[ListedFile, ...]

    @property
    def ready(self) -> bool:
        """True if all listed files that a job with default options needs are present."""
        return not self.problem and is_ready(self.files)


def list_pipelines(folder: Path) -> Iterator[ListedPipeline]:
    """Yield the built-in pipelines, then those of plugins, also broken ones (with `problem`)."""
    for name in KNOWN_PIPELINES.ids():
        package = KNOWN_PIPELINES.package(name)
        try:
            spec = KNOWN_PIPELINES.get(name)
        except UnavailableError as error:
            yield ListedPipeline(name, "", package, str(error), needs_models=False, files=())
            continue
        files = list_files(name, folder, vace=spec.vace) if spec.needs_models and is_known(name) else ()
        yield ListedPipeline(name, spec.summary, package, "", spec.needs_models, files)


def list_processors(folder: Path) -> Iterator[ListedPipeline]:
    """Yield the processors that have a model, also broken ones (with `problem`)."""
    for name in PROCESSORS.ids():
        package = PROCESSORS.package(name)
        try:
            spec = PROCESSORS.get(name)
        except UnavailableError as error:
            yield ListedPipeline(name, "", package, str(error), needs_models=False, files=())
            continue
        if spec.model is not None:
            found = artifacts_of(spec.model.files)
            files = tuple(ListedFile(artifact, "", size_on_disk(folder, artifact)) for artifact in found)
            yield ListedPipeline(name, spec.summary, package, "", needs_models=True, files=files)


def for_vae(vae_type: VaeType) -> str:
    """Return the value of `needed_for` of the files of a VAE."""
    return f"vae_type: {vae_type}"


def list_files(pipeline_id: str, folder: Path, *, vace: bool) -> tuple[ListedFile, ...]:
    """Return every file that `pipeline_id` may read from `folder`, each once. vace: also those for VACE."""
    always = set.intersection(*(set(artifacts(pipeline_id, vae_type)) for vae_type in VAES))
    reasons: dict[Artifact, str] = {}
    for vae_type in VAES:
        for artifact in artifacts(pipeline_id, vae_type):
            reasons.setdefault(artifact, "" if artifact in always else for_vae(vae_type))
    if vace:
        for artifact in wanted_artifacts(pipeline_id, folder, vace=True):
            reasons.setdefault(artifact, FOR_VACE)
    return tuple(ListedFile(artifact, why, size_on_disk(folder, artifact)) for artifact, why in reasons.items())


def is_ready(files: Sequence[ListedFile]) -> bool:
    """Return True if all files that a job with default options needs are present."""
    needed = ("", for_vae(DEFAULT_VAE))
    return all(file.size_bytes is not None for file in files if file.needed_for in needed)
