"""Locates the model files on this machine. Torch-free."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from scope_batch.errors import UnavailableError
from scope_batch.files.access import is_file, shown
from scope_batch.models import cache, layout
from scope_batch.models.hub import smallest_gb
from scope_batch.models.layout import Artifact, VaeType

TINY = "tiny"
"""The bare word that stands for the built-in set; `./tiny` is a folder."""
TINY_VERSION = 2
"""Raised whenever a byte of any file of that set changes."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Absolute paths of what one pipeline reads.

    builtin_lora  None when it has none, or goes without.
    vae_type      which network the file `vae` is taken for.
    vace          the VACE module, or a whole checkpoint that holds it; None when nothing is steered through VACE.
    """

    config: Path
    backbone: Path
    builtin_lora: Path | None
    vae: Path
    vae_type: VaeType
    text_encoder: Path
    tokenizer: Path
    vace: Path | None = None


@dataclass(frozen=True, slots=True)
class ModelsFolder:
    """`path` need not exist; `why`: who named it."""

    path: Path
    why: str


def models_place(asked: str | None, asked_by: str = "--models") -> ModelsFolder:
    """The folder that `asked` (--models, else the job's `models`) or the environment names. Not for `tiny`.

    Without either: Scope's own folder if there is one, else the platform's data folder. Raises UnavailableError for a
    file.
    """
    variables = ("SCOPE_BATCH_MODELS", "DAYDREAM_SCOPE_MODELS_DIR")
    for named, why in ((asked, asked_by), *((os.environ.get(name), f"${name}") for name in variables)):
        if named:
            try:
                folder = Path(named).expanduser().absolute()
            except RuntimeError as error:
                raise UnavailableError(f"{why}: {named}: there is no such user's home") from error
            if is_file(folder):
                raise UnavailableError(f"{why}: {folder} is a file; a folder of model files is needed")
            return ModelsFolder(folder, why)
    scope = Path.home() / ".daydream-scope" / "models"
    if scope.is_dir():
        return ModelsFolder(scope, "Scope's own folder")
    return ModelsFolder(
        platformdirs.user_data_path("scope-batch", appauthor=False) / "models", "the platform's data folder"
    )


def models_folder(asked: str | None) -> Path:
    return models_place(asked).path


def find_models(
    pipeline_id: str, asked: str | None, *, vae_type: VaeType = "wan", builtin_lora: bool = True, vace: bool = False
) -> ModelFiles:
    """The files of `pipeline_id`; `asked` as for `models_folder`, or `tiny`, which is made in the cache when it is new.

    vace  the VACE module is needed too.
    The lightvae of `tiny` stands for wan as well. Raises UnavailableError (exit code 69) naming each file that
    is missing, the command that fetches it and how to try without.
    """
    if asked == TINY:
        from scope_batch.models.tiny.build import tiny_models_folder  # torch, only when it is needed

        vae_type = tiny_vae_type(vae_type)
        folder = tiny_models_folder(pipeline_id, vae_type=vae_type, vace=vace)
    else:
        folder = models_folder(asked)
    wanted = [
        artifact
        for artifact in wanted_artifacts(pipeline_id, folder, vae_type=vae_type, vace=vace)
        if builtin_lora or artifact.role != "builtin_lora"
    ]
    if missing := [a for a in wanted if not is_present(folder, a)]:
        pull = pull_command(pipeline_id, folder, vae_type=vae_type, vace=vace)
        raise UnavailableError(_missing(pipeline_id, asked, folder, missing, pull))
    return model_files(folder, wanted)


def tokenizer_folder(pipeline_id: str, asked: str | None) -> Path | None:
    """Path of the tokenizer of `pipeline_id`, which need not exist; `asked` as for `find_models`. None: it has none."""
    if not layout.is_known(pipeline_id):
        return None
    folder = cache.cache_path(TINY, f"v{TINY_VERSION}") if asked == TINY else models_folder(asked)
    return folder / layout.TOKENIZER.local


def tiny_vae_type(vae_type: VaeType) -> VaeType:
    """The type that stands for `vae_type` in the tiny set."""
    return "lightvae" if vae_type == "wan" else vae_type


def model_files(folder: Path, artifacts: Iterable[Artifact]) -> ModelFiles:
    """The paths of these below `folder`, whether they exist or not."""
    by_role = {artifact.role: artifact for artifact in artifacts}
    paths = {role: folder / artifact.local for role, artifact in by_role.items()}
    return ModelFiles(
        config=paths["config"],
        backbone=paths["backbone"],
        builtin_lora=paths.get("builtin_lora"),
        vae=paths["vae"],
        vae_type=next(name for name, artifact in layout.VAES.items() if artifact == by_role["vae"]),
        text_encoder=paths["text_encoder"],
        tokenizer=paths["tokenizer"],
        vace=paths.get("vace"),
    )


def wanted_artifacts(
    pipeline_id: str, folder: Path, *, vae_type: VaeType = "wan", vace: bool = False
) -> tuple[Artifact, ...]:
    """What `pipeline_id` reads from `folder`, one per role; what is there already is preferred where files may vary."""
    artifacts = layout.artifacts(pipeline_id, vae_type, vace=vace)
    return tuple(_vace_at_hand(folder) if artifact == layout.VACE else artifact for artifact in artifacts)


def _vace_at_hand(folder: Path) -> Artifact:
    whole = not is_present(folder, layout.VACE) and is_present(folder, layout.VACE_CHECKPOINT)
    return layout.VACE_CHECKPOINT if whole else layout.VACE


def is_present(folder: Path, artifact: Artifact) -> bool:
    path = folder / artifact.local
    return is_file(path / artifact.probe if artifact.probe else path)


def size_on_disk(folder: Path, artifact: Artifact) -> int | None:
    """Bytes of the file, or of all files in the folder; None where it is missing."""
    if not is_present(folder, artifact):
        return None
    path = folder / artifact.local
    files = path.rglob("*") if artifact.probe else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


def repo_folder(repo: str) -> str:
    """Name of a repository's folder below the models folder."""
    return repo.split("/")[-1]


def download_command(folder: Path, artifacts: Sequence[Artifact]) -> str:
    """Shell commands that fetch these files into `folder`, one per repository."""
    repos = {a.repo: [b.pattern for b in artifacts if b.repo == a.repo] for a in artifacts}
    return " && ".join(
        f"hf download {repo} {' '.join(f'--include {shlex.quote(p)}' for p in patterns)} "
        f"--local-dir {_shell_word(str(folder / repo_folder(repo)))}"
        for repo, patterns in repos.items()
    )


def pull_command(pipeline_id: str, folder: Path, *, vae_type: VaeType = "wan", vace: bool = False) -> str:
    """The shell command that fetches what `pipeline_id` lacks in `folder`."""
    options = (*(("--vae", vae_type) if vae_type != "wan" else ()), *(("--vace",) if vace else ()))
    words = ("scope-batch", "models", "pull", pipeline_id, *options, "--models", str(folder))
    return " ".join(map(_shell_word, words))


def _shell_word(text: str) -> str:
    """The text as one word for a shell and on one line: a line break in a path is written $'\\n'."""
    if text.isprintable():
        return shlex.quote(text)
    escaped = text.encode("unicode_escape").decode().replace("'", r"\'")
    return f"$'{escaped}'"


def _missing(pipeline_id: str, asked: str | None, folder: Path, missing: Sequence[Artifact], pull: str) -> str:
    size = f"{smallest_gb(missing):.0f} GB or more"
    if asked is not None and not folder.exists():
        near = f" (did you mean {TINY}?)" if difflib.get_close_matches(Path(asked).name, [TINY]) else ""
        what = f"{shown(folder)}: no such folder of model files{near}"
    else:
        what = f"model files missing in {shown(folder)}: {', '.join(str(a.local) for a in missing)}"
    return f"{pipeline_id}: {what}; to fetch them, {size}: {pull}; to try without: --models {TINY}"
