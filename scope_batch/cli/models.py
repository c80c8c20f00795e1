"""`models`: lists, finds, checks and fetches the model files of pipelines and processors."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from scope_batch.cli import arguments as o
from scope_batch.cli.documents import print_json, print_lines, print_text
from scope_batch.cli.environment import prepare_libraries
from scope_batch.cli.help import Program
from scope_batch.cli.output_patterns import refuse_tiny
from scope_batch.errors import EXIT_CHECK_FAILED, EXIT_OK, EXIT_USAGE, UsageError
from scope_batch.progress import TolerantStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scope_batch.models.folder import ModelsFolder
    from scope_batch.models.layout import Artifact, VaeType
    from scope_batch.pipelines import PipelineSpec

app = Program()


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List, find, check and fetch model files."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(EXIT_USAGE)


@app.command("list")
def list_(folder: o.ModelsFolderOption = None, as_json: o.AsJson = False) -> None:
    """Print every pipeline and processor with its model files, their licences, and which of them are present."""
    from scope_batch.cli.model_documents import listing_lines, listing_values
    from scope_batch.models.folder import models_place
    from scope_batch.models.listing import list_pipelines, list_processors

    place = models_place(refuse_tiny(folder))
    listed = list(list_pipelines(place.path))
    if as_json:
        print_json(listing_values(place, listed, list(list_processors(place.path))))
    else:
        print_lines(listing_lines(place, [*listed, *list_processors(place.path)]))


@app.command()
def path(job: o.JobOfModels = None, models: o.ModelsChoice = None, as_json: o.AsJson = False) -> None:
    """Print the folder that model files are read from; the setting that named it goes to standard error."""
    place = _place(job, models)
    if as_json:
        print_json({"folder": str(place.path), "why": place.why, "exists": place.path.is_dir()})
        return
    print_text(f"{place.path}\n")
    TolerantStream(sys.stderr).line(place.why if place.path.is_dir() else f"{place.why}; not there yet")


@app.command()
def check(
    pipeline: o.PipelineArgument,
    vace: o.WithVace = False,
    vae: o.VaeOption = "wan",
    models: o.ModelsChoice = None,
    as_json: o.AsJson = False,
) -> int:
    """Check a pipeline's files: present, readable, with every key. Exit code 1 unless all are valid."""
    if (artifacts := _of_processor(pipeline, vae, vace=vace)) is not None:
        return _check_processor(pipeline, artifacts, models, as_json=as_json)
    wanted = _wanted(pipeline, vae, vace=vace)
    if wanted is None:
        if as_json:
            print_json({"pipeline": pipeline, "folder": None, "ok": True, "files": []})
        return _needs_none(pipeline)
    prepare_libraries(verbose=False, deterministic=False)
    from scope_batch.cli.model_documents import check_lines, check_values
    from scope_batch.models.check import Checker, all_ok
    from scope_batch.models.folder import pull_command

    folder, vae_type = _folder_to_check(wanted, models)
    checks = Checker(folder).check(pipeline, vae_type=vae_type, vace=vace)
    if as_json:
        print_json(check_values(pipeline, folder, checks, ok=all_ok(checks)))
    else:
        print_lines(check_lines(folder, checks, pull_command(pipeline, folder, vae_type=vae_type, vace=vace)))
    return EXIT_OK if all_ok(checks) else EXIT_CHECK_FAILED


@app.command()
def pull(
    pipeline: o.PipelineArgument,
    vace: o.WithVace = False,
    vae: o.VaeOption = "wan",
    folder: o.ModelsFolderOption = None,
    dry_run: o.DryPull = False,
) -> int:
    """Fetch a pipeline's missing files from the Hugging Face Hub; an interrupted pull is resumed."""
    artifacts: Sequence[Artifact] | None = _of_processor(pipeline, vae, vace=vace)
    wanted = None if artifacts is not None else _wanted(pipeline, vae, vace=vace)
    if artifacts is None and wanted is None:
        return _needs_none(pipeline)
    from scope_batch.cli.model_documents import fetch_line
    from scope_batch.models.folder import models_folder, wanted_artifacts
    from scope_batch.models.hub_cache import is_offline
    from scope_batch.models.pull import check_room, fetch_files, plan_fetches, show_progress

    place = models_folder(refuse_tiny(folder))
    stderr = TolerantStream(sys.stderr)
    if wanted is not None:
        artifacts = wanted_artifacts(pipeline, place, vae_type=wanted.vae_type, vace=vace)
    assert artifacts is not None
    if is_offline():
        return _link_cached(pipeline, artifacts, place, dry_run=dry_run)
    show_progress(shown=False)  # no bars while the files are listed
    fetches = plan_fetches(artifacts, place)
    if dry_run:
        print_text("".join(f"{fetch_line(fetch)}\n" for fetch in fetches) or f"nothing is missing in {place}\n")
        return EXIT_OK
    check_room(fetches, place)
    show_progress(shown=stderr.isatty())  # no bars in a log
    for fetch in fetches:
        stderr.line(f"fetching {fetch_line(fetch)}")
        fetch_files(fetch, place)
    stderr.line(f"{pipeline}: all files are in {place}")
    return EXIT_OK


def _of_processor(name: str, vae: str, *, vace: bool) -> tuple[Artifact, ...] | None:
    """Return the files of a processor's model; None if `name` is no processor with a model.

    Raises UsageError for options of pipelines, and for a processor that manages its own files.
    """
    from scope_batch.models.listing import list_processors

    listed = next((each for each in list_processors(Path()) if each.id == name), None)
    if listed is None:
        return None
    if vace or vae != "wan":
        raise UsageError(f"{name} is a processor: {'--vace' if vace else '--vae'} is for pipelines")
    if not listed.files:
        raise UsageError(f"the processor {name!r} manages its own model files")
    return tuple(file.artifact for file in listed.files)


def _check_processor(name: str, artifacts: Sequence[Artifact], models: str | None, *, as_json: bool) -> int:
    from scope_batch.cli.model_documents import check_lines, check_values
    from scope_batch.models.check import all_ok, check_processor
    from scope_batch.models.folder import TINY, models_folder, pull_command
    from scope_batch.models.processor_files import TINY_FOLDER

    folder = TINY_FOLDER if models == TINY else models_folder(models)
    checks = check_processor(folder, artifacts)
    if as_json:
        print_json(check_values(name, folder, checks, ok=all_ok(checks)))
    else:
        print_lines(check_lines(folder, checks, pull_command(name, folder)))
    return EXIT_OK if all_ok(checks) else EXIT_CHECK_FAILED


def _link_cached(pipeline: str, artifacts: Sequence[Artifact], folder: Path, *, dry_run: bool) -> int:
    from scope_batch.models.hub_cache import check_complete, find_cached, link_files

    cached = find_cached(artifacts, folder)
    if dry_run:
        print_text("".join(f"{file.source}, to {file.target}\n" for file in cached) or f"nothing to link to {folder}\n")
    else:
        link_files(cached)
    check_complete(artifacts, cached, folder)
    if not dry_run:
        TolerantStream(sys.stderr).line(f"{pipeline}: {len(cached)} files of the Hub's cache are linked to {folder}")
    return EXIT_OK


@dataclass(frozen=True, slots=True)
class _Wanted:
    spec: PipelineSpec
    vae_type: VaeType
    vace: bool


def _wanted(pipeline: str, vae: str, *, vace: bool) -> _Wanted | None:
    """Return None if the pipeline needs no files. Raises UsageError for an unknown pipeline or unsupported options."""
    from scope_batch.models.layout import VAES, is_known
    from scope_batch.pipelines import KNOWN_PIPELINES

    if pipeline not in KNOWN_PIPELINES.ids():
        raise UsageError(f"{pipeline}: no such pipeline; allowed: {', '.join(KNOWN_PIPELINES.ids())}")
    if vae not in VAES:
        raise UsageError(f"--vae {vae}: not known; allowed: {', '.join(VAES)}")
    spec = KNOWN_PIPELINES.get(pipeline)
    if spec.needs_models and not is_known(pipeline):
        raise UsageError(f"{KNOWN_PIPELINES.where(pipeline)} manages its own model files")
    if vace and not spec.vace:
        raise UsageError(f"--vace: {pipeline} does not support VACE")
    return _Wanted(spec, vae, vace) if spec.needs_models else None


def _needs_none(pipeline: str) -> int:
    TolerantStream(sys.stderr).line(f"{pipeline} needs no model files")
    return EXIT_OK


def _place(argument: str | None, models: str | None) -> ModelsFolder:
    from scope_batch.models.folder import ModelsFolder, builtin_folder, models_place

    folder, named_by = models, "--models"
    if models is None and argument is not None:
        from scope_batch.cli.job_argument import read_job

        job = read_job(argument)
        folder, named_by = None if job.models is None else str(job.models), job.where("models")
    if (builtin := builtin_folder(folder)) is not None:
        return ModelsFolder(builtin, f"{named_by}, the built-in set")
    return models_place(folder, named_by)


def _folder_to_check(wanted: _Wanted, models: str | None) -> tuple[Path, VaeType]:
    from scope_batch.models.folder import RANDOM, TINY, models_folder, tiny_vae_type

    if models == RANDOM:
        raise UsageError(f"--models {RANDOM}: its networks have shapes and no files to check")
    if models == TINY:
        from scope_batch.models.tiny.build import tiny_models_folder

        vae_type = tiny_vae_type(wanted.vae_type)
        return tiny_models_folder(wanted.spec.id, vae_type=vae_type, vace=wanted.vace), vae_type
    return models_folder(refuse_tiny(models)), wanted.vae_type
