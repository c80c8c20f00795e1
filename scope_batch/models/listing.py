"""Every pipeline, what its files are and which of them are here. Torch-free: nothing is opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scope_batch.errors import UnavailableError
from scope_batch.models.folder import size_on_disk, wanted_artifacts
from scope_batch.models.layout import VAES, Artifact, VaeType, artifacts, is_known
from scope_batch.pipelines import KNOWN_PIPELINES

DEFAULT_VAE: VaeType = "wan"
FOR_VACE = "VACE"


@dataclass(frozen=True, slots=True)
class ListedFile:
    """`needed_for`: the option that asks for it; "" = always. `size_bytes`: None where it is missing."""

    artifact: Artifact
    needed_for: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class ListedPipeline:
    """`package`: the plugin that brings it. `problem`: why it cannot be used at all, "" if it can.

    needs_models  and if `files` is empty nevertheless, it sees to them itself.
    """

    id: str
    summary: str
    package: str | None
    problem: str
    needs_models: bool
    files: tuple[ListedFile, ...]

    @property
    def ready(self) -> bool:
        """Whether a job that asks for nothing special finds all it needs, as far as is known here."""
        return not self.problem and is_ready(self.files)


def list_pipelines(folder: Path) -> Iterator[ListedPipeline]:
    """Built-in ones first, then those of plugins; one that is broken is in the list as well."""
    for name in KNOWN_PIPELINES.ids():
        package = KNOWN_PIPELINES.package(name)
        try:
            spec = KNOWN_PIPELINES.get(name)
        except UnavailableError as error:
            yield ListedPipeline(name, "", package, str(error), needs_models=False, files=())
            continue
        files = list_files(name, folder, vace=spec.vace) if spec.needs_models and is_known(name) else ()
        yield ListedPipeline(name, spec.summary, package, "", spec.needs_models, files)


def for_vae(vae_type: VaeType) -> str:
    return f"vae_type: {vae_type}"


def list_files(pipeline_id: str, folder: Path, *, vace: bool) -> tuple[ListedFile, ...]:
    """Every file that `pipeline_id` may read from `folder`, each once. `vace`: it can be steered through VACE."""
    always = set.intersection(*(set(artifacts(pipeline_id, vae_type)) for vae_type in VAES))
    named: dict[Artifact, str] = {}
    for vae_type in VAES:
        for artifact in artifacts(pipeline_id, vae_type):
            named.setdefault(artifact, "" if artifact in always else for_vae(vae_type))
    if vace:
        for artifact in wanted_artifacts(pipeline_id, folder, vace=True):
            named.setdefault(artifact, FOR_VACE)
    return tuple(ListedFile(artifact, why, size_on_disk(folder, artifact)) for artifact, why in named.items())


def is_ready(files: Sequence[ListedFile]) -> bool:
    """Whether a job that asks for nothing special finds all it needs."""
    needed = ("", for_vae(DEFAULT_VAE))
    return all(file.size_bytes is not None for file in files if file.needed_for in needed)
