"""Defines the arguments and options of the verbs as types, with their names and help texts."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from scope_batch.cli.values import parse_duration, parse_local_path
from scope_batch.core.output_formats import FILE_SUFFIXES

_OUTPUT, _JOB, _RUN, _SHOWN = "Output", "Job", "Run", "Display"
_RESUME = "Resume"


class Format(StrEnum):
    """Mirrors `STDOUT_FORMATS`."""

    npy = "npy"
    nut = "nut"
    mp4 = "mp4"
    mkv = "mkv"
    webm = "webm"


class Progress(StrEnum):
    auto = "auto"
    rich = "rich"
    plain = "plain"
    json = "json"
    none = "none"


JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="Job file, - for standard input, or a rendered file that carries its job.")
]
JobArguments = Annotated[
    list[str],
    typer.Argument(metavar="JOB", help="Job files, - for standard input, or rendered files that carry their job."),
]
RenderedFile = Annotated[str, typer.Argument(metavar="FILE", help="A rendered file.")]
ClipArgument = Annotated[
    Path | None, typer.Argument(metavar="CLIP", help="Video whose size, rate and length the job takes over.")
]
ExportArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="Timeline (.json) or .scope-workflow.json; - for standard input.")
]
ExportRate = Annotated[
    str, typer.Option("--fps", metavar="RATE", help="Frames per second, to convert the timeline's seconds to frames.")
]

PipelineArgument = Annotated[
    str, typer.Argument(metavar="PIPELINE", help="Pipeline or processor, as `models list` shows it.")
]
JobOfModels = Annotated[
    str | None, typer.Argument(metavar="JOB", help="A job file, whose `models` is used if --models is not set.")
]
WithVace = Annotated[bool, typer.Option("--vace", help="Include the VACE module.")]
VaeOption = Annotated[str, typer.Option("--vae", metavar="TYPE", help="The job's `vae_type`.")]
ModelsChoice = Annotated[
    str | None, typer.Option("--models", metavar="DIR|tiny", help="Folder of model files, or the built-in set.")
]
ModelsFolderOption = Annotated[str | None, typer.Option("--models", metavar="DIR", help="Folder of model files.")]
TryRender = Annotated[bool, typer.Option("--render", help="Also render a few frames with the built-in set.")]
DryPull = Annotated[bool, typer.Option("--dry-run", help="Only print what would be fetched.")]

Outputs = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--output",
        metavar="OUT",
        help=f"Replace the job's output: {FILE_SUFFIXES}, frames/%05d.png, or - for standard output. May "
        "be repeated. {job}, {seed}, {hash8} and the keys of a sweep are filled in.",
        rich_help_panel=_OUTPUT,
    ),
]
FormatOption = Annotated[
    Format | None,
    typer.Option("-f", "--format", help="Format of standard output, npy by default.", rich_help_panel=_OUTPUT),
]
Overwrite = Annotated[
    bool, typer.Option("-y", "--overwrite", help="Replace outputs that exist.", rich_help_panel=_OUTPUT)
]
SkipExisting = Annotated[
    bool,
    typer.Option(
        "-n",
        "--skip-existing",
        help="Skip a job whose outputs exist; with -y, replace those that another job made.",
        rich_help_panel=_OUTPUT,
    ),
]
Depfile = Annotated[
    Path | None,
    typer.Option(
        parser=parse_local_path,
        metavar="FILE",
        help="Write the files that the jobs read as rules for make.",
        rich_help_panel=_OUTPUT,
    ),
]
Latents = Annotated[
    Path | None,
    typer.Option(
        parser=parse_local_path, metavar="FILE", help="Also save the latents (.safetensors).", rich_help_panel=_OUTPUT
    ),
]
Preview = Annotated[
    Path | None,
    typer.Option(
        parser=parse_local_path,
        metavar="FILE",
        help="A picture (.png), replaced after each chunk.",
        rich_help_panel=_OUTPUT,
    ),
]
Sheet = Annotated[
    Path | None,
    typer.Option(
        parser=parse_local_path,
        metavar="FILE",
        help="Also write a contact sheet (.png): the middle frame of each job, with its values of the sweep.",
        rich_help_panel=_OUTPUT,
    ),
]
NoMetadata = Annotated[
    bool,
    typer.Option("--no-metadata", help="Leave the job out of the outputs.", rich_help_panel=_OUTPUT),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Continue although the disk looks too small.", rich_help_panel=_OUTPUT),
]

ResumeOption = Annotated[
    bool | None,
    typer.Option(
        "--resume/--no-resume",
        help="--resume: keep a work folder beside the output however short the render is, and continue from one even "
        "if it was begun on a different machine. --no-resume: begin anew. Without either, a render of more than a "
        "minute keeps a work folder, and the same command continues from it.",
        rich_help_panel=_RESUME,
    ),
]
CheckpointEvery = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="CHUNKS",
        help="Save the model's state every so many chunks, not as often as 2 % of the time allows; 0: keep no work "
        "folder.",
        rich_help_panel=_RESUME,
    ),
]
WorkDir = Annotated[
    Path | None,
    typer.Option(
        parser=parse_local_path,
        metavar="DIR",
        help="Keep the work folder here, not beside the output.",
        rich_help_panel=_RESUME,
    ),
]
Reuse = Annotated[
    Path | None,
    typer.Option(
        parser=parse_local_path,
        metavar="DIR",
        help="Start with the equal chunks in the work folder of another render.",
        rich_help_panel=_RESUME,
    ),
]
KeepWork = Annotated[
    bool,
    typer.Option("--keep-work", help="Keep the work folder when the output is finished.", rich_help_panel=_RESUME),
]

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Replace a value of the job, as in chunk_specs.0.text=dusk. May be repeated.",
        rich_help_panel=_JOB,
    ),
]
Sweeps = Annotated[
    list[str] | None,
    typer.Option(
        "--sweep",
        metavar="KEY=V1,V2",
        help="Render the job with each of these values; KEY=[V1, V2] is a list in YAML, for values with commas; "
        "KEY=@FILE has a value in each line. Of several keys every combination. {KEY} stands in -o.",
        rich_help_panel=_JOB,
    ),
]
BranchAt = Annotated[
    int, typer.Option("--at", min=0, metavar="FRAME", help="The endings part at the chunk that holds this frame.")
]
Endings = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="An ending: a field of a chunk that changes there, as in text=dusk, or any value of the job. Repeat it "
        "for each ending.",
    ),
]
EndingOutputs = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--output",
        metavar="OUT",
        help="As for render; {ending} is the number of the ending. Default: the job's names with -1, -2 ... added.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print the plan.", rich_help_panel=_JOB)]

Timeout = Annotated[
    float | None,
    typer.Option(
        parser=parse_duration,
        metavar="TIME",
        help="Time limit for all jobs together, such as 90s, 10m or 1h30m (a number: seconds); the current chunk is "
        "finished.",
        rich_help_panel=_RUN,
    ),
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first job that fails.", rich_help_panel=_RUN)]
Ledger = Annotated[
    Path | None,
    typer.Option(
        parser=parse_local_path,
        metavar="DIR",
        help="Add a line for each job to DIR/jobs.jsonl, which farm status shows.",
        rich_help_panel=_RUN,
    ),
]

ProgressOption = Annotated[
    Progress,
    typer.Option(
        "--progress", help="auto: a bar on a terminal, else lines. Progress goes to stderr.", rich_help_panel=_SHOWN
    ),
]
ProgressFile = Annotated[
    Path | None,
    typer.Option(
        parser=parse_local_path,
        metavar="PATH",
        help="Also write progress as JSON lines to a file.",
        rich_help_panel=_SHOWN,
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print only errors.", rich_help_panel=_SHOWN)]
Verbose = Annotated[
    bool,
    typer.Option("-v", "--verbose", help="Also print messages of libraries, and tracebacks.", rich_help_panel=_SHOWN),
]

Fetch = Annotated[
    bool,
    typer.Option("--fetch", help="Fetch large inputs (s3://, gs://, hf://), too: their facts are read from a copy."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if there are warnings.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
FullInfo = Annotated[
    bool, typer.Option("--full", help="With --json: also versions, machine and checksums, not only the job.")
]
TemplateOutput = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file, not to standard output.")
]
ReplaceTemplate = Annotated[bool, typer.Option("-y", "--overwrite", help="Replace the file.")]
