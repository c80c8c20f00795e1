"""Finds the model files of processors on this machine. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scope_batch.core.processor_model import ModelFile, ProcessorRequest
from scope_batch.errors import UnavailableError
from scope_batch.files.access import shown
from scope_batch.models.folder import TINY, is_present, models_folder, pull_command
from scope_batch.models.layout import Artifact


def artifacts_of(files: Sequence[ModelFile]) -> tuple[Artifact, ...]:
    return tuple(Artifact("processor", file.repo, file.path) for file in files)


TINY_FOLDER = Path(__file__).parent / TINY / "processors"
"""Files of `models: tiny`, in the layout of a models folder; `examples/tiny_world` trains them."""


def find_processor_files(request: ProcessorRequest) -> tuple[Path, ...]:
    """Return the paths of the files in their order.

    Raises UnavailableError (exit code 69), which names each missing file and the command that fetches it.
    """
    tiny = request.models == TINY
    folder, artifacts = TINY_FOLDER if tiny else models_folder(request.models), artifacts_of(request.files)
    if missing := [str(artifact.local) for artifact in artifacts if not is_present(folder, artifact)]:
        if tiny:
            raise UnavailableError(f"{request.processor}: models: {TINY} has no model for it; name a folder of models")
        raise UnavailableError(
            f"{request.processor}: model files missing in {shown(folder)}: {', '.join(missing)}; to fetch them: "
            f"{pull_command(request.processor, folder)}"
        )
    return tuple(folder / artifact.local for artifact in artifacts)
