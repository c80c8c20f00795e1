"""What a pipeline's files are and which of them are here. Torch-free: nothing is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scope_batch.models.folder import size_on_disk
from scope_batch.models.layout import VAES, Artifact, VaeType, artifacts

DEFAULT_VAE: VaeType = "wan"
FOR_VACE = "VACE"


@dataclass(frozen=True, slots=True)
class ListedFile:
    """`needed_for`: the option that asks for it; "" = always. `size_bytes`: None where it is missing."""

    artifact: Artifact
    needed_for: str
    size_bytes: int | None


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
        for artifact in artifacts(pipeline_id, vace=True):
            named.setdefault(artifact, FOR_VACE)
    return tuple(ListedFile(artifact, why, size_on_disk(folder, artifact)) for artifact, why in named.items())


def is_ready(files: Sequence[ListedFile]) -> bool:
    """Whether a job that asks for nothing special finds all it needs."""
    needed = ("", for_vae(DEFAULT_VAE))
    return all(file.size_bytes is not None for file in files if file.needed_for in needed)
