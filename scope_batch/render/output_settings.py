"""Checks the outputs of a render, and gathers what they share, such as the metadata."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scope_batch.checkpoint.store import MANIFEST, STORE
from scope_batch.core.engine import EngineRequest
from scope_batch.core.plan import Plan
from scope_batch.errors import JobError, OutputExistsError
from scope_batch.job import Job
from scope_batch.job.paths import named_inputs, public_prompts
from scope_batch.media.validate import check_material
from scope_batch.plan.diagnostics import places_of_inputs
from scope_batch.plan.view.film_map import FilmMap
from scope_batch.render.fingerprint import input_digests, job_sha256, plugins_of
from scope_batch.render.options import RenderOptions
from scope_batch.render.speed_history import expected_s
from scope_batch.sinks.disk_space import check_space
from scope_batch.sinks.metadata import add_environment, metadata_text
from scope_batch.sinks.output import Output, files_of, work_path
from scope_batch.sinks.output_set import SinkSettings, check_outputs
from scope_batch.sinks.uptodate import comparable

SHORT_RENDER_S = 60.0
"""A render that is expected to take longer stores its chunks, so that it can be continued."""
MOST_REASONS = 2
"""At most so many outputs are named that are not up to date."""


def chunks_path(
    job: Job, plan: Plan, request: EngineRequest, outputs: Sequence[Output], options: RenderOptions, stem: str
) -> Path | None:
    """The path in whose work folder chunks are stored; None: they are not."""
    output = next((output for output in outputs if output.path is not None), None)
    first = None if output is None else output.path
    if options.work_dir is not None:  # where several renders may store their chunks
        url = None if output is None else output.url
        place = url or os.path.realpath(stem if first is None else first)
        first = options.work_dir / f"{Path(place).name}-{hashlib.sha256(os.fsencode(place)).hexdigest()[:8]}"
    if first is None or options.checkpoint_every == 0:
        return None
    asked = options.resume, options.checkpoint_every, options.work_dir, options.reuse, options.keep_work or None
    wanted = any(value not in (None, False) for value in asked) or bool(job.keep_state)
    if wanted or os.path.isfile(work_path(first) / STORE / MANIFEST):  # noqa: PTH113  (False also for a name too long)
        return first
    return first if expected_s(plan, request) > SHORT_RENDER_S else None


def sink_settings(
    job: Job, plan: Plan, request: EngineRequest, options: RenderOptions, chunks: Path | None
) -> SinkSettings:
    """Return the settings without metadata, which `with_metadata` adds. chunks: see `SinkSettings`."""
    if options.latents is not None and not request.spec.needs_models:
        raise JobError(f"--latents: the pipeline {plan.pipeline_id} has no latents")
    return SinkSettings(
        overwrite=options.overwrite,
        sound=plan.sound,
        preview=options.preview,
        latents=options.latents,
        inputs=_files_read(job),
        chunks=chunks,
        keep_chunks=options.keep_work or bool(job.keep_state),
        drop_chunks=options.reuse is None
        and (options.resume is False or (options.overwrite and options.resume is None)),
    )


def with_metadata(
    settings: SinkSettings, job: Job, plan: Plan, models: Mapping[str, str], *, store: bool
) -> SinkSettings:
    """Add the metadata, for which every input is read once; `store`: the outputs hold them.

    models  `model_files_digests` of the machine that renders.
    """
    document = metadata_of(job, plan, models)
    values = sorted(comparable(json.loads(document)).items())
    digest = hashlib.sha256(json.dumps(values).encode()).hexdigest()
    return replace(settings, metadata=document if store else None, job=digest)


def with_environment(settings: SinkSettings, environment: Mapping[str, str]) -> SinkSettings:
    """Add the machine and the packages that make the frames to the metadata, if the outputs hold them."""
    if settings.metadata is None:
        return settings
    return replace(settings, metadata=add_environment(settings.metadata, environment))


def metadata_of(job: Job, plan: Plan, models: Mapping[str, str]) -> str:
    """Return the metadata of an output of this job as JSON. Every input is read once."""
    return metadata_text(
        job.to_public_dict(),
        input_digests(job),
        job_sha256(job),
        plugins_of(job),
        dict(plan.defaults),
        models,
        FilmMap.of_plan(plan, public_prompts(job, job.source)).to_json(),
    )


def _files_read(job: Job) -> tuple[Path, ...]:
    """Return the existing files that the job reads, which no output may replace."""
    paths = (*(path for _, path in named_inputs(job)), Path(job.source.name))
    return tuple(dict.fromkeys(path for path in paths if path.exists()))


def check_outputs_and_inputs(
    job: Job,
    plan: Plan,
    outputs: tuple[Output, ...],
    settings: SinkSettings,
    options: RenderOptions,
    reasons: Sequence[str] = (),
) -> None:
    """Check outputs, inputs and disk space before a model is loaded. reasons: why existing outputs are not used."""
    why = "; ".join(reasons[:MOST_REASONS])
    only_new = options.skip_existing and not options.overwrite
    if only_new and any(output.path is not None and files_of(output.path) for output in outputs):
        raise OutputExistsError(
            "--skip-existing: some output exists, but not all outputs are complete and rendered from this job; "
            f"--overwrite replaces them; {why}"
        )
    try:
        check_outputs(outputs, plan, settings)
    except OutputExistsError as error:
        raise OutputExistsError(f"{error}; {why}" if why else str(error)) from error
    check_material(plan, places_of_inputs(job))
    if not options.force:
        check_space(outputs, plan, options.latents, settings.chunks, len(job.keep_state))
