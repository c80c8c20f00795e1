"""`golden`: blesses what jobs render, verifies later renders by it, and tests the goldens themselves."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scope_batch.cli import arguments as o
from scope_batch.cli import device_options as d
from scope_batch.cli.annotations import annotation
from scope_batch.cli.console import open_console
from scope_batch.cli.documents import print_json, print_text
from scope_batch.cli.environment import prepare_libraries
from scope_batch.cli.help import Program
from scope_batch.cli.job_argument import STDIN, read_job, stem_of
from scope_batch.errors import EXIT_CHECK_FAILED, EXIT_OK, UsageError

if TYPE_CHECKING:
    from scope_batch.golden.golden import Verification
    from scope_batch.golden.junit import Case
    from scope_batch.render.options import RenderOptions

SUFFIX = ".golden"
ALL = "all"

app = Program(
    help="Keep what jobs render as goldens, and verify later renders by them.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def parse_pictures(text: str) -> int:
    """Convert a number of at least 1, or "all", which is -1. Raises BadParameter for anything else."""
    if text == ALL:
        return -1
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is neither a number of at least 1 nor {ALL!r}")
    return int(text)


Folder = Annotated[
    Path | None,
    typer.Option(
        "--golden", metavar="DIR", help="Folder of the golden; by default the job's name with .golden, beside the job."
    ),
]
Pictures = Annotated[
    int, typer.Option(parser=parse_pictures, metavar="N|all", help="Number of whole frames to keep as pictures.")
]
Note = Annotated[str, typer.Option(metavar="TEXT", help="Why it is blessed; kept with the golden.")]
Replace = Annotated[
    bool, typer.Option("--replace", help="Remove the goldens of other machines, which the new one makes stale.")
]
Film = Annotated[
    str | None, typer.Option(metavar="FILE", help="Verify a film, encoded or not, in place of a render of the job.")
]
ReportFolder = Annotated[
    Path | None,
    typer.Option("--report", metavar="DIR", help="Write golden.json, junit.xml and, of failures, pictures there."),
]


@app.command()
def bless(
    jobs: o.JobArguments,
    golden: Folder = None,
    pictures: Pictures = "6",  # type: ignore[assignment]  # typer parses a default like an argument
    note: Note = "",
    replace: Replace = False,
    overrides: o.Overrides = None,
    models: d.Models = None,
    device: d.Device = "auto",
) -> int:
    """Render jobs and keep the frames' checksums and some pictures as the golden of this machine."""
    _check_arguments(jobs, golden)
    options = _options(models, device)
    from scope_batch.golden.golden import bless as bless_job
    from scope_batch.render.engine_pool import Engines

    engines, codes = Engines(), []
    with open_console("none", None, verbose=False) as console:
        for argument in jobs:
            with console.boundary(argument) as boundary:
                folder = golden or folder_of(argument)
                blessed = bless_job(
                    read_job(argument, overrides or (), models),
                    folder,
                    options,
                    pictures=pictures,
                    note=note,
                    replace_all=replace,
                    engines=engines,
                )
                count, kept = blessed.record.count, len(blessed.record.pictures)
                print_text(
                    f"blessed {argument}: {count} frames, {kept} of them as pictures, in {folder / blessed.label}\n"
                )
            codes.append(boundary.exit_code)
    return next((code for code in codes if code), EXIT_OK)


@app.command()
def verify(
    jobs: o.JobArguments,
    golden: Folder = None,
    film: Film = None,
    report: ReportFolder = None,
    as_json: o.AsJson = False,
    overrides: o.Overrides = None,
    models: d.Models = None,
    device: d.Device = "auto",
) -> int:
    """Render jobs and compare with their goldens: bit for bit on the blessed kind of machine, else by thresholds.

    Exit code 1 if a job differs.
    """
    _check_arguments(jobs, golden)
    if film is not None and len(jobs) > 1:
        raise UsageError("--film: one job at a time")
    options = _options(models, device)
    from scope_batch.golden.golden import verify as verify_job
    from scope_batch.golden.junit import Case
    from scope_batch.render.engine_pool import Engines

    engines = Engines()
    codes: list[int] = []
    cases: list[Case] = []
    documents: list[dict[str, Any]] = []
    with open_console("none", None, verbose=False) as console:
        for argument in jobs:
            started_s = time.monotonic()
            with console.boundary(argument) as boundary:
                job = read_job(argument, overrides or (), models)
                found = verify_job(job, golden or folder_of(argument), options, film=film, engines=engines)
                picture = _save_picture(report, argument, found)
                cases.append(_case(argument, time.monotonic() - started_s, found))
                documents.append({"job": argument, **found.to_json(), "picture": picture})
                if not as_json:
                    print_text("".join(f"{line}\n" for line in _lines(argument, found, picture)))
                if not found.passed and (command := annotation(found.headline, file=argument)):
                    console.stream.line(command)
                codes.append(EXIT_OK if found.passed else EXIT_CHECK_FAILED)
            if boundary.error is not None:
                codes.append(boundary.exit_code)
                cases.append(Case(argument, time.monotonic() - started_s, error=str(boundary.error)))
    if report is not None:
        _write_report(report, cases, documents)
    if as_json:
        print_json({"passed": not any(codes), "jobs": documents})
    return max((code for code in codes if code), default=EXIT_OK)


@app.command("self-test")
def self_test(jobs: o.JobArguments, golden: Folder = None, as_json: o.AsJson = False) -> int:
    """Judge each golden by films with known faults, without a render. Exit code 1 if a fault is not noticed."""
    _check_arguments(jobs, golden)
    from scope_batch.golden.folder import read_goldens, read_thresholds
    from scope_batch.golden.self_test import try_faults

    codes: list[int] = []
    documents: list[dict[str, Any]] = []
    with open_console("none", None, verbose=False) as console:
        for argument in jobs:
            folder = golden or folder_of(argument)
            with console.boundary(argument) as boundary:
                thresholds = read_thresholds(folder)
                for blessed in read_goldens(folder):
                    where = str(folder / blessed.label)
                    trials = list(try_faults(blessed, thresholds))
                    missed = [trial for trial in trials if not trial.noticed]
                    codes.append(EXIT_CHECK_FAILED if missed else EXIT_OK)
                    documents += [{"golden": where, **asdict(trial)} for trial in trials]
                    if not as_json:
                        print_text(f"{where}: {len(trials) - len(missed)} of {len(trials)} faults are noticed\n")
                        for trial in missed:
                            print_text(f"  the thresholds of {trial.tier} are too loose: {trial.fault} passes\n")
            codes.append(boundary.exit_code)
    if as_json:
        print_json({"passed": not any(codes), "trials": documents})
    return max((code for code in codes if code), default=EXIT_OK)


def folder_of(argument: str) -> Path:
    """Return the default folder of a job's golden: NAME.golden beside NAME.yaml."""
    path = Path(argument)
    if not path.name:
        raise UsageError(f"{argument or 'an empty text'}: is no job file")
    return path.with_name(stem_of(argument) + SUFFIX)


def _check_arguments(jobs: list[str], golden: Path | None) -> None:
    if golden is not None and len(jobs) > 1:
        raise UsageError("--golden names the folder of one job")
    if golden is None and STDIN in jobs:
        raise UsageError("a job from standard input has no name: --golden says where its golden is")


def _options(models: str | None, device: str) -> RenderOptions:
    prepare_libraries(verbose=False, deterministic=True)
    from scope_batch.render.options import RenderOptions

    return RenderOptions(models=models, device=device, deterministic=True)


def _lines(argument: str, found: Verification, picture: str | None) -> list[str]:
    shown = [] if picture is None else [f"  side by side: {picture}"]
    word = "ok" if found.passed else "FAILED"
    return [f"{word:<6} {argument}: {found.headline}", *(f"  {line}" for line in found.lines()), *shown]


def _case(argument: str, seconds: float, found: Verification) -> Case:
    from scope_batch.golden.junit import Case

    failure = "" if found.passed else found.headline
    return Case(argument, seconds, failure, details=found.lines())


def _save_picture(report: Path | None, argument: str, found: Verification) -> str | None:
    """Write golden and film side by side to the report's folder; returns the path, None where nothing is to be seen."""
    from scope_batch.files.access import make_folders
    from scope_batch.golden.picture import side_by_side
    from scope_batch.sinks.output import output_errors

    pairs, finding = found.verdict.pairs, found.verdict.finding
    if report is None or not pairs:
        return None
    path = report / f"{stem_of(argument)}.png"
    thumbnail = finding.frame if finding is not None and finding.reduced else None
    places = [f"frame {pair.result.frame}{', its thumbnail' * (pair.result.frame == thumbnail)}" for pair in pairs]
    with output_errors(path):
        make_folders(report)
        side_by_side(pairs, ("golden", argument), places).save(path)
    return str(path)


def _write_report(report: Path, cases: list[Case], documents: list[dict[str, Any]]) -> None:
    from scope_batch.files.access import make_folders
    from scope_batch.golden.junit import junit_xml
    from scope_batch.sinks.output import output_errors

    with output_errors(report):
        make_folders(report)
        (report / "junit.xml").write_text(junit_xml(cases), encoding="utf-8")
        (report / "golden.json").write_text(json.dumps({"jobs": documents}, indent=2) + "\n", encoding="utf-8")
