"""`compare`: compares two films frame by frame."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scope_batch.cli import arguments as o
from scope_batch.cli import device_options as d
from scope_batch.cli.documents import print_json, print_text
from scope_batch.cli.environment import prepare_libraries
from scope_batch.cli.job_argument import read_job
from scope_batch.errors import EXIT_CHECK_FAILED, EXIT_OK, UsageError

if TYPE_CHECKING:
    from scope_batch.golden.comparison import Comparison
    from scope_batch.golden.streams import FrameStream

JOB_SUFFIXES = (".yaml", ".yml", ".json")
_LEVEL = re.compile(r"(\d+(?:\.\d+)?)/255")
_LIMITS = "Thresholds"


def parse_value(text: str) -> float:
    """Convert a difference in 0..1, or in levels as in 2/255. Raises BadParameter for anything else."""
    levels = _LEVEL.fullmatch(text.strip())
    try:
        value = float(levels[1]) / 255 if levels else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"{text!r} is not a difference in 0..1, such as 0.01 or 2/255")
    return value


FilmA = Annotated[
    str,
    typer.Argument(
        metavar="A",
        help="A video, an array, a folder or pattern of pictures, - (an NPY stream), or a job, which is rendered.",
    ),
]
FilmB = Annotated[str, typer.Argument(metavar="B", help="Likewise.")]
Fail = Annotated[
    float | None,
    typer.Option(
        parser=parse_value,
        metavar="DIFFERENCE",
        help="Differences of a pixel up to here do not count: 0..1, or levels as in 2/255.",
        rich_help_panel=_LIMITS,
    ),
]
FailPercent = Annotated[
    float | None,
    typer.Option(
        min=0, max=100, metavar="PERCENT", help="Share of a frame's pixels that may differ by more than --fail.",
        rich_help_panel=_LIMITS,
    ),
]  # fmt: skip
HardFail = Annotated[
    float | None,
    typer.Option(
        parser=parse_value, metavar="DIFFERENCE", help="No pixel may differ by more.", rich_help_panel=_LIMITS
    ),
]
Warn = Annotated[
    float | None,
    typer.Option(parser=parse_value, metavar="DIFFERENCE", help="As --fail, for a warning.", rich_help_panel=_LIMITS),
]
WarnPercent = Annotated[
    float | None,
    typer.Option(min=0, max=100, metavar="PERCENT", help="As --fail-percent, for a warning.", rich_help_panel=_LIMITS),
]
MinPsnr = Annotated[
    float | None,
    typer.Option(min=0, metavar="DB", help="Lowest PSNR of a frame, in dB.", rich_help_panel=_LIMITS),
]
MinSsim = Annotated[
    float | None,
    typer.Option(min=0, max=1, metavar="SSIM", help="Lowest SSIM of a frame, 0..1.", rich_help_panel=_LIMITS),
]
IgnoreRate = Annotated[bool, typer.Option("--ignore-rate", help="The frame rates may differ.", rich_help_panel=_LIMITS)]
Picture = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the frames that differ first and most side by side (.png)."),
]


def compare(
    a: FilmA,
    b: FilmB,
    fail: Fail = None,
    fail_percent: FailPercent = None,
    hard_fail: HardFail = None,
    warn: Warn = None,
    warn_percent: WarnPercent = None,
    min_psnr: MinPsnr = None,
    min_ssim: MinSsim = None,
    ignore_rate: IgnoreRate = False,
    picture: Picture = None,
    as_json: o.AsJson = False,
    models: d.Models = None,
    device: d.Device = "auto",
) -> int:
    """Compare two films frame by frame. Exit code 1 if they differ by more than the thresholds, by default at all."""
    if a == b == "-":
        raise UsageError("- (standard input) can be read only once")
    if picture is not None and picture.suffix.lower() != ".png":
        raise UsageError(f"--picture {picture}: must end in .png")
    prepare_libraries(verbose=False, deterministic=False)
    from scope_batch.golden.comparison import compare as compare_films
    from scope_batch.golden.thresholds import Thresholds

    thresholds = Thresholds(fail, fail_percent, hard_fail, warn, warn_percent, min_psnr, min_ssim)
    if all(Path(film).suffix.lower() in JOB_SUFFIXES for film in (a, b)):
        raise UsageError("one of A and B may be a job; render the other one to a file first")
    with _open(a, models, device) as one, _open(b, models, device) as two:
        found = compare_films(one, two, thresholds, ignore_rate=ignore_rate)
    if picture is not None:
        save_picture(picture, found, (a, b))
    if as_json:
        print_json({"a": a, "b": b, **found.to_json()})
    else:
        written = [f"wrote {picture}"] if picture is not None and found.pairs else []
        print_text("".join(f"{line}\n" for line in (*lines_of(found), *written)))
    return EXIT_CHECK_FAILED if found.judgement == "differs" else EXIT_OK


def _open(argument: str, models: str | None, device: str) -> FrameStream:
    from scope_batch.golden.streams import job_stream, open_stream
    from scope_batch.render.options import RenderOptions

    if Path(argument).suffix.lower() not in JOB_SUFFIXES:
        return open_stream(argument)
    return job_stream(read_job(argument, models=models), argument, RenderOptions(models=models, device=device))


def save_picture(path: Path, found: Comparison, names: tuple[str, str]) -> None:
    """Write the pairs that differ side by side; nothing is written for equal films. Raises OutputError."""
    from scope_batch.files.access import make_folders
    from scope_batch.golden.picture import side_by_side
    from scope_batch.sinks.output import output_errors

    if not found.pairs:
        return
    picture = side_by_side(found.pairs, names, [found.place(pair.result.frame) for pair in found.pairs])
    with output_errors(path):
        make_folders(path.parent)
        picture.save(path)


def lines_of(found: Comparison) -> list[str]:
    """Describe a comparison for people."""
    lines = list(found.problems)
    if found.first is not None:
        first, failed, worst = found.first.result, found.failed, found.worst
        lines.append(f"first difference: {found.place(first.frame)}: {first}")
        if failed is not None:
            also = "" if failed.result.frame == first.frame else f"{found.place(failed.result.frame)}: "
            lines.append(f"over the threshold: {also}{'; '.join(failed.result.reasons)}")
        if worst is not None and worst.result.frame != first.frame:
            lines.append(f"worst: {found.place(worst.result.frame)}: {worst.result}")
    if found.shift is not None:
        lines.append(str(found.shift))
    lines += [f"frames {one} and {two} are exchanged" for one, two in found.swaps]
    counts = {name: sum(result.judgement == name for result in found.results) for name in ("differs", "warned")}
    total = len(found.results)
    equal = sum(result.judgement == "equal" for result in found.results)
    told = {
        "equal": f"equal: {total} frames, bit for bit",
        "within": f"within the thresholds: {total} frames, {equal} of them equal",
        "warned": f"within the thresholds, with a warning: {counts['warned']} of {total} frames",
        "differs": f"they differ: {counts['differs']} of {total} frames are over the threshold",
    }
    return [*lines, told[found.judgement]]
