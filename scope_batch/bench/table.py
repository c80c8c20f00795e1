"""Formats measured renders as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from scope_batch.bench.measure import Run
from scope_batch.bench.processes import Command
from scope_batch.bench.stage_clock import BETWEEN, WAITING


def speed_table(runs: Sequence[Run], earlier: Mapping[tuple[str, ...], float]) -> Table:
    """Return one line for each run. earlier: frames per second by `Run.key`, from a file of an earlier bench."""
    names = ["chunk", "passes", "clean", "enc", "dec", "copy", "gap", "TFLOP/s", "peak %"]
    table = _table("FPS", *(["before", "%"] if earlier else []), *names)
    for run in runs:
        before = earlier.get(run.key)
        change = ["-", "-"] if before is None else [f"{before:.1f}", f"{100 * (run.fps / before - 1):+.1f}"]
        table.add_row(
            *_names(run),
            f"{run.fps:.1f}",
            *(change if earlier else []),
            f"{run.chunk:.1f}",
            _sum(run, "context", "recaching", "denoising"),
            _sum(run, "caching"),
            _sum(run, "encoding"),
            _sum(run, "decoding"),
            _sum(run, "copying"),
            _sum(run, WAITING, BETWEEN),
            _number(run.effective_tflops, "{:.0f}"),
            _number(None if run.floor_share is None else 100 * run.floor_share, "{:.0f}", "unknown"),
        )
    return table


def start_table(runs: Sequence[Run]) -> Table:
    """Return one line for each run: seconds around the chunks, and memory."""
    table = _table("load s", "prompts s", "1st frame s", "render s", "peak GB", "forecast GB")
    for run in runs:
        table.add_row(
            *_names(run),
            f"{run.load_s:.1f}" if run.load_s >= _LOADED_S else "loaded",
            _number(run.text_encoder_s, "{:.2f}", "cached"),
            f"{run.first_frame_s:.2f}",
            f"{run.render_s:.1f}",
            _number(run.peak_bytes / 1e9 or None, "{:.2f}"),
            _number(None if run.forecast_bytes is None else run.forecast_bytes / 1e9, "{:.2f}"),
        )
    return table


_LOADED_S = 0.05
"""An engine that is loaded already is found in less time."""


def _table(*numbers: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("pipeline", "case", "size", "kernels"):
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _names(run: Run) -> tuple[str, ...]:
    kernels = run.kernels if run.round == 0 else f"{run.kernels} ({run.round + 1})"
    if run.speed != "exact":
        kernels += f", speed {run.speed}"
    return run.pipeline, run.case, f"{run.width}x{run.height}", kernels


def commands_table(commands: Sequence[Command]) -> Table:
    """Return one line for each whole `render` command."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("render command", "pipeline", "case", "size"):
        table.add_column(name, no_wrap=True)
    for name in ("frames", "to", "loaded after s", "written after s", "ended after s", "FPS once loaded"):
        table.add_column(name, justify="right", no_wrap=True)
    for done in commands:
        times = [f"{seconds:.2f}" for seconds in (done.started_s, done.finished_s, done.whole_s)]
        size = f"{done.width}x{done.height}"
        names = (done.name, done.pipeline, done.case, size, str(done.frames), done.output)
        table.add_row(*names, *times, f"{done.fps:.1f}")
    return table


def details(runs: Sequence[Run]) -> Iterator[RenderableType]:
    """Yield what holds for all runs, comparisons within them, profiles, and the chunks of a lone run."""
    yield start_table(runs)
    used = dict.fromkeys((*run.key[3:], tuple(run.environment.items())) for run in runs if run.environment)
    for kernels, speed, facts in used:
        yield Text(f"kernels {kernels}, speed {speed}: {', '.join(map(' '.join, facts))}", style="dim")
    for reason in dict.fromkeys(
        run.reason_against_kernels for run in runs if run.kernels == "auto" and run.environment
    ):
        if reason is not None:
            yield Text(f"the program's own kernels do not run: {reason}", style="dim")
    yield Text(
        "chunk and stages: median milliseconds; peak %: share of the rate in the device's data sheet (dense bfloat16)",
        style="dim",
    )
    yield from _comparisons(runs)
    for run in runs:
        yield from _profile(run)
    if len(runs) == 1:
        yield chunk_table(runs[0])


def chunk_table(run: Run) -> Table:
    """Return one line for each chunk of a run."""
    stages = list(dict.fromkeys(stage for times in run.chunks for stage in times.stages))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("chunk", "frames", "ms", *stages):
        table.add_column(name, justify="right")
    for times in run.chunks:
        cells = [f"{times.stages[stage]:.1f}" if stage in times.stages else "" for stage in stages]
        table.add_row(str(times.chunk), str(times.frames), f"{times.total:.1f}", *cells)
    return table


def _comparisons(runs: Sequence[Run]) -> Iterator[Text]:
    """Compare kernels `auto` with `off` and speed `high` with `exact`, where both were measured.

    It is the median of ratios between neighbours in time.
    """
    pairs: dict[tuple[str, ...], list[float]] = {}
    for run in runs:
        for other in runs:
            words = _COMPARED.get((run.key[3:], other.key[3:]))
            if words is not None and run.key[:3] == other.key[:3] and run.round == other.round:
                pairs.setdefault((*run.key[:3], words), []).append(run.fps / other.fps)
    for (*key, words), ratios in pairs.items():
        spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
        yield Text(f"{' '.join(key)}: {words.format(f'{median(ratios):.2f} times as fast')}{spread}")


_COMPARED: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {
    (("auto", "exact"), ("off", "exact")): "kernels auto are {} as off",
    (("auto", "high"), ("auto", "exact")): "speed high is {} as exact",
}
"""Kernels and speed of two runs, and the words for their ratio."""


def _profile(run: Run) -> Iterator[Text]:
    found = run.profile
    if found is None:
        return
    yield Text(
        f"{' '.join(run.key)}: per chunk {found.kernels:.0f} kernels, {found.launches:.0f} launches, "
        f"{found.host_waits:.1f} waits of the host, {found.busy:.1f} ms busy, GPU idle {100 * found.idle_share:.1f} %"
    )
    for name, ms, calls in found.largest:
        yield Text(f"  {ms:8.2f} ms  {calls:6.0f} x  {name[:90]}", style="dim")


def _sum(run: Run, *stages: str) -> str:
    found = [run.stages[stage] for stage in stages if stage in run.stages]
    return f"{sum(found):.1f}" if found else "-"


def _number(value: float | None, form: str, missing: str = "-") -> str:
    return missing if value is None else form.format(value)
