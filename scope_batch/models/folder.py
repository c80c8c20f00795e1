"""Finds the model files on this machine. Torch-free."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from scope_batch.errors import UnavailableError
from scope_batch.events import Report, silent
from scope_batch.files import cache
from scope_batch.files.access import is_file, shown
from scope_batch.files.urls import copy_path, is_url, url_of
from scope_batch.models import layout
from scope_batch.models.hub import smallest_gb
from scope_batch.models.layout import Artifact, VaeType

TINY = "tiny"
"""Value of `models` that selects the built-in tiny models; a folder of that name is written `./tiny`."""
TINY_VERSION = 6
"""Version of the tiny models; increase it whenever a byte of any of their files changes."""
_TINY_VAE_TYPES: dict[VaeType, VaeType] = {"wan": "lightvae", "lighttae": "tae"}
RANDOM = "random"
"""Value of `models` that selects random numbers in networks of the published sizes, for measurements."""
RANDOM_VERSION = 1


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Absolute paths of the files that one pipeline reads.

    builtin_lora  None if the pipeline has no LoRA of its own, or it is not wanted.
    vae_type      the network that the file `vae` is for.
    vace          the VACE module, or a whole checkpoint that contains it; None if the job does not use VACE.
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
    """A folder of model files, which need not exist. why: the option or variable that names it."""

    path: Path
    why: str


def models_place(models: str | None, named_by: str = "--models") -> ModelsFolder:
    """Return the folder of model files: `models` if given, else that of the environment variables.

    For a URL it is the folder of local copies, which `find_models` fetches.

    models    value of --models or of the job's `models`, but not "tiny".
    named_by  name of that option in messages.
    Without either it is Scope's own folder if that exists, else the platform's data folder. Raises UnavailableError if
    the path is a file.
    """
    variables = ("SCOPE_BATCH_MODELS", "DAYDREAM_SCOPE_MODELS_DIR")
    for named, why in ((models, named_by), *((os.environ.get(name), f"${name}") for name in variables)):
        if named:
            try:
                folder = copy_path(named) if is_url(named) else Path(named).expanduser().absolute()
            except RuntimeError as error:
                raise UnavailableError(f"{why}: {named}: there is no such user's home") from error
            except ValueError as error:
                raise UnavailableError(f"{why}: {error}") from error
            if is_file(folder):
                raise UnavailableError(f"{why}: {folder} is a file; a folder of model files is needed")
            return ModelsFolder(folder, why)
    scope = Path.home() / ".daydream-scope" / "models"
    if scope.is_dir():
        return ModelsFolder(scope, "Scope's own folder")
    return ModelsFolder(
        platformdirs.user_data_path("scope-batch", appauthor=False) / "models", "the platform's data folder"
    )


def models_folder(models: str | None) -> Path:
    """Return the path of `models_place`."""
    return models_place(models).path


def find_models(
    pipeline_id: str,
    models: str | None,
    *,
    vae_type: VaeType = "wan",
    builtin_lora: bool = True,
    vace: bool = False,
    report: Report = silent,
) -> ModelFiles:
    """Return the files of `pipeline_id`.

    models        as for `models_place`, or "tiny" or "random": these files are created in the cache folder on first
                  use. The lightvae of "tiny" also serves as "wan", its tae as "lighttae"; "random" has no LoRA of the
                  pipeline's own.
    builtin_lora  whether the pipeline's own LoRA is needed; vace: whether the VACE module is.
    Files of a folder in shared storage are fetched, which `report` tells.
    Raises UnavailableError (exit code 69), which names each missing file and the command that fetches it; as
    `storage.fetch.fetch` for a folder in shared storage.
    """
    if models == RANDOM:
        from scope_batch.models.published import build_random_models, random_file

        folder = cache.cache_folder(RANDOM, f"v{RANDOM_VERSION}")
        build_random_models(folder, pipeline_id, vae_type=vae_type, vace=vace)
        artifacts = [a for a in layout.artifacts(pipeline_id, vae_type, vace=vace) if a.role != "builtin_lora"]
        return model_files(folder, artifacts, random_file)
    if models == TINY:
        from scope_batch.models.tiny.build import tiny_models_folder  # torch, only when it is needed

        vae_type = tiny_vae_type(vae_type)
        folder = tiny_models_folder(pipeline_id, vae_type=vae_type, vace=vace)
    else:
        folder = models_folder(models)
        if url_of(folder) is not None:
            _fetch(folder, layout.artifacts(pipeline_id, vae_type, vace=vace), report)
    needed = [
        artifact
        for artifact in wanted_artifacts(pipeline_id, folder, vae_type=vae_type, vace=vace)
        if builtin_lora or artifact.role != "builtin_lora"
    ]
    if missing := [a for a in needed if not is_present(folder, a)]:
        if (url := url_of(folder)) is not None:
            names = ", ".join(str(artifact.local) for artifact in missing)
            raise UnavailableError(f"{pipeline_id}: model files missing in {url}: {names}")
        pull = pull_command(pipeline_id, folder, vae_type=vae_type, vace=vace)
        raise UnavailableError(_missing(pipeline_id, models, folder, missing, pull))
    return model_files(folder, needed)


def _fetch(folder: Path, artifacts: Iterable[Artifact], report: Report) -> None:
    """Bring the local copies of these artifacts up to date. The whole VACE checkpoint stands in for its module."""
    from scope_batch.storage.fetch import fetch_if_there

    for artifact in artifacts:
        if not fetch_if_there(folder / artifact.local, report) and artifact == layout.VACE:
            fetch_if_there(folder / layout.VACE_CHECKPOINT.local, report)


def tokenizer_folder(pipeline_id: str, models: str | None) -> Path | None:
    """Return the path of the pipeline's tokenizer, which need not exist; None if the pipeline has none.

    models  as for `find_models`. From a folder in shared storage the tokenizer is fetched.
    """
    if not layout.is_known(pipeline_id):
        return None
    folder = builtin_folder(models) or models_folder(models)
    if url_of(folder) is not None:
        _fetch(folder, [layout.TOKENIZER], silent)
    return folder / layout.TOKENIZER.local


def builtin_folder(models: str | None) -> Path | None:
    """Return the folder in the cache of a set that is made here, by its word; None for a folder."""
    versions = {TINY: TINY_VERSION, RANDOM: RANDOM_VERSION}
    return cache.cache_path(models, f"v{versions[models]}") if models in versions else None


def tiny_vae_type(vae_type: VaeType) -> VaeType:
    """Return the type that the tiny models use for `vae_type`: they have no "wan" and no "lighttae"."""
    return _TINY_VAE_TYPES.get(vae_type, vae_type)


def _local(folder: Path, artifact: Artifact) -> Path:
    return folder / artifact.local


def model_files(
    folder: Path, artifacts: Iterable[Artifact], place: Callable[[Path, Artifact], Path] = _local
) -> ModelFiles:
    """Return the paths of these artifacts below `folder`, by `place`. They need not exist."""
    by_role = {artifact.role: artifact for artifact in artifacts}
    paths = {role: place(folder, artifact) for role, artifact in by_role.items()}
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
    """Return the artifacts that `pipeline_id` reads from `folder`, one per role.

    The whole VACE checkpoint is taken if it is in `folder` and the VACE module is not.
    """
    artifacts = layout.artifacts(pipeline_id, vae_type, vace=vace)
    return tuple(_available_vace(folder) if artifact == layout.VACE else artifact for artifact in artifacts)


def _available_vace(folder: Path) -> Artifact:
    whole = not is_present(folder, layout.VACE) and is_present(folder, layout.VACE_CHECKPOINT)
    return layout.VACE_CHECKPOINT if whole else layout.VACE


def is_present(folder: Path, artifact: Artifact) -> bool:
    """Return True if the file exists, or for a folder its `probe`."""
    path = folder / artifact.local
    return is_file(path / artifact.probe if artifact.probe else path)


def size_on_disk(folder: Path, artifact: Artifact) -> int | None:
    """Return the bytes of the file, or of all files in the folder; None if it is missing."""
    if not is_present(folder, artifact):
        return None
    path = folder / artifact.local
    files = path.rglob("*") if artifact.probe else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


def repo_folder(repo: str) -> str:
    """Return the name of a repository's folder below the models folder."""
    return repo.split("/")[-1]


def download_command(folder: Path, artifacts: Sequence[Artifact]) -> str:
    """Return shell commands that download these files into `folder`, one per repository, joined by `&&`."""
    repos = {a.repo: [b.pattern for b in artifacts if b.repo == a.repo] for a in artifacts}
    return " && ".join(
        f"hf download {repo} {' '.join(f'--include {shlex.quote(p)}' for p in patterns)} "
        f"--local-dir {_shell_word(str(folder / repo_folder(repo)))}"
        for repo, patterns in repos.items()
    )


def pull_command(pipeline_id: str, folder: Path, *, vae_type: VaeType = "wan", vace: bool = False) -> str:
    """Return the `scope-batch models pull` command that fetches the pipeline's missing files into `folder`."""
    options = (*(("--vae", vae_type) if vae_type != "wan" else ()), *(("--vace",) if vace else ()))
    words = ("scope-batch", "models", "pull", pipeline_id, *options, "--models", str(folder))
    return " ".join(map(_shell_word, words))


def _shell_word(text: str) -> str:
    """Quote a text as one word for a shell, on one line: a line break is written $'\\n'."""
    if text.isprintable():
        return shlex.quote(text)
    escaped = text.encode("unicode_escape").decode().replace("'", r"\'")
    return f"$'{escaped}'"


def _missing(pipeline_id: str, models: str | None, folder: Path, missing: Sequence[Artifact], pull: str) -> str:
    size = f"{smallest_gb(missing):.0f} GB or more"
    if models is not None and not folder.exists():
        near = f" (did you mean {TINY}?)" if difflib.get_close_matches(Path(models).name, [TINY]) else ""
        what = f"{shown(folder)}: no such folder of model files{near}"
    else:
        what = f"model files missing in {shown(folder)}: {', '.join(str(a.local) for a in missing)}"
    return f"{pipeline_id}: {what}; to fetch them, {size}: {pull}; to try without: --models {TINY}"
