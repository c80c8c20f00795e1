"""Blesses what a job renders as its golden, and verifies later renders, or films, by it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scope_batch.checkpoint.provenance import Difference
from scope_batch.core.plan import Plan
from scope_batch.events import Report, silent
from scope_batch.golden.folder import Blessed, label_of, read_goldens, read_thresholds, write_blessed
from scope_batch.golden.record import Record, record, spread
from scope_batch.golden.streams import job_stream, open_stream
from scope_batch.golden.verdict import Tier, Verdict, judge
from scope_batch.job import Job
from scope_batch.plan import plan_to_dict
from scope_batch.plan.view import text
from scope_batch.plan.view.film_map import FilmMap
from scope_batch.render.engine_pool import Engines, request_of
from scope_batch.render.fingerprint import environment_of, model_files_digests
from scope_batch.render.options import RenderOptions
from scope_batch.render.output_settings import metadata_of
from scope_batch.render.prepare import prepare_job
from scope_batch.sinks.uptodate import changes

ALL = -1
DEFAULT_PICTURES = 6
OWN_PACKAGE = "scope-batch"
"""Another version of this package is what a golden tests: it is no excuse for other frames."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of `verify`.

    label                the golden that the film was judged by, among those of the folder.
    environment_changes  what differs between the machine of that golden and this one.
    job_changes          what differs in the job, its inputs and models since it was blessed.
    chunk, row           the chunk of the first failing frame, and its row of `plan --json`.
    """

    folder: Path
    label: str
    verdict: Verdict
    environment_changes: tuple[Difference, ...] = ()
    job_changes: tuple[Difference, ...] = ()
    chunk: int | None = None
    row: Mapping[str, Any] = field(default_factory=dict)
    row_text: str = ""

    @property
    def passed(self) -> bool:
        return self.verdict.passed

    @property
    def headline(self) -> str:
        """One line: what failed first, or how the film passed."""
        verdict = self.verdict
        if verdict.passed:
            how = "equal bit for bit" if verdict.equal else f"within the thresholds of {verdict.tier}"
            worst = "" if verdict.equal else f", worst PSNR {verdict.worst_db:.2f} dB"
            return f"{how} ({self.label}{worst})"
        if verdict.finding is None:
            return "; ".join(verdict.problems)
        return f"frame {verdict.finding.frame} (chunk {self.chunk}): {verdict.finding}"

    def lines(self) -> list[str]:
        """What failed, where in the plan, and what may be the cause."""
        verdict = self.verdict
        if verdict.passed:
            return [f"other environment: {change}" for change in self.environment_changes if not verdict.equal]
        lines = [] if verdict.finding is None else list(verdict.problems)
        if self.row_text:
            lines.append(self.row_text)
        if verdict.shift is not None:
            lines.append(f"{verdict.shift} (A: golden, B: film)")
        lines += [f"frames {one} and {two} are exchanged" for one, two in verdict.swaps]
        lines += [f"changed since it was blessed: {change}" for change in self.job_changes]
        lines += [f"other environment: {change}" for change in self.environment_changes]
        if not self.job_changes and not self.environment_changes and verdict.tier != "encoded":
            lines.append("job, inputs, models and environment are those of the golden: the program has changed")
        return lines

    def to_json(self) -> dict[str, Any]:
        def values(found: Sequence[Difference]) -> list[dict[str, str | None]]:
            return [{"field": change.field, "golden": change.old, "now": change.new} for change in found]

        return {
            **self.verdict.to_json(),
            "golden": str(self.folder / self.label),
            "headline": self.headline,
            "lines": self.lines(),
            "chunk": self.chunk,
            "plan_row": dict(self.row),
            "job_changes": values(self.job_changes),
            "environment_changes": values(self.environment_changes),
        }


def bless(
    job: Job,
    folder: Path,
    options: RenderOptions,
    *,
    pictures: int = DEFAULT_PICTURES,
    note: str = "",
    replace_all: bool = False,
    engines: Engines | None = None,
    report: Report = silent,
) -> Blessed:
    """Render a job and keep it as the golden of this environment. Raises the errors of a render.

    pictures     number of whole frames to keep, evenly spread; ALL keeps them all.
    replace_all  remove the goldens of other environments.
    """
    engines = engines or Engines()
    plan = prepare_job(job)
    environment, made_from = _identity(job, plan, options, engines, report)
    count = plan.delivery.frames
    kept = range(count) if pictures == ALL else spread(count, pictures)
    with job_stream(job, "the render", options, report, engines) as stream:
        film = record(stream, kept)
    blessed = Blessed(label_of(environment), environment, made_from, film, note)
    write_blessed(folder, blessed, replace_all=replace_all)
    return blessed


def verify(
    job: Job,
    folder: Path,
    options: RenderOptions,
    *,
    film: str | None = None,
    engines: Engines | None = None,
    report: Report = silent,
) -> Verification:
    """Judge what a job renders now by the goldens in `folder`; `film`: a file to judge in place of a render.

    A render is held to the golden of its own environment bit for bit; without one, to the most similar one by its
    thresholds. A film passes if it equals any golden bit for bit, else by the thresholds of encoded films.
    Raises MissingInputError if there is no golden, and the errors of a render.
    """
    goldens, thresholds = read_goldens(folder), read_thresholds(folder)
    plan = prepare_job(job)
    tier: Tier = "encoded"
    made_from: Mapping[str, Any] | None = None
    if film is not None:
        golden = goldens[0]
        environment: Mapping[str, str] = golden.environment
        stream = open_stream(film)
        stream.fps = stream.fps or golden.record.frames.fps
    else:
        engines = engines or Engines()
        environment, made_from = _identity(job, plan, options, engines, report)
        golden = min(goldens, key=lambda each: len(each.environment_changes(environment)))
        tier = "other_machine" if golden.environment_changes(environment) else "exact"
        stream = job_stream(job, "the render", options, report, engines)
    with stream:
        kept = {index for each in goldens for index in each.record.pictures}
        found = record(stream, kept, golden.record.frames.hashes)
    golden = next((each for each in goldens if each.record.frames == found.frames), golden)
    verdict = judge(golden.record, found, tier, thresholds[tier])
    job_changes = [] if made_from is None else changes(golden.made_from, made_from)
    return Verification(
        folder,
        golden.label,
        verdict,
        tuple(golden.environment_changes(environment)),
        tuple(job_changes),
        *_row(plan, found, verdict),
    )


def _identity(
    job: Job, plan: Plan, options: RenderOptions, engines: Engines, report: Report
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the environment, without this package, and the metadata of what the job renders. Loads the engine."""
    request = request_of(job, plan, options)
    made_from = json.loads(metadata_of(job, plan, model_files_digests(request, plan, report)))
    environment = environment_of(engines.get(request, report))
    return {name: value for name, value in environment.items() if name != OWN_PACKAGE}, made_from


def _row(plan: Plan, film: Record, verdict: Verdict) -> tuple[int | None, Mapping[str, Any], str]:
    """Return the chunk of the first failing frame, its row of the plan as JSON, and the row as one line."""
    if verdict.passed or (verdict.finding is None and film.count == plan.delivery.frames):
        return None, {}, ""  # what differs, such as the rate, is not about a frame
    frame = min(film.count, plan.delivery.frames) - 1 if verdict.finding is None else verdict.finding.frame
    index = FilmMap.of_plan(plan).chunk_at(frame)
    chunk, row = plan.chunks[index], plan_to_dict(plan)["chunks"][index]
    parts = [
        f"frames {chunk.first_frame} to {chunk.last_frame}",
        text.event(chunk),
        f'prompt "{text.prompt(text.shares_of(plan.chunks)[index])}"',
        f"seed {chunk.seed}",
        f"steps {text.steps(chunk)}",
        f"noise scale {text.noise_scale(chunk)}" if chunk.noise_scale is not None else "",
        *(f"LoRA {name} {scale:g}" for name, scale in row["lora_scales"].items()),
        f"VACE {'+'.join(text.sources_of(plan)[index])}" if chunk.vace is not None else "",
    ]
    return index, row, f"plan of chunk {index}: {', '.join(filter(None, parts))}"
