"""Renders one job on a server: sends it, follows it, and writes its frames to the outputs of this machine."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from scope_batch import __version__
from scope_batch.core.plan import Plan
from scope_batch.errors import JobError, TemporaryError, UnavailableError, UsageError
from scope_batch.events import Finished, Remote, Report, Submitted, Warned
from scope_batch.files.cache import file_sha256
from scope_batch.job import Job
from scope_batch.models.folder import TINY
from scope_batch.progress.wording import size
from scope_batch.render.engine_pool import request_of
from scope_batch.render.fingerprint import job_sha256, model_files_digests
from scope_batch.render.loop import MAX_WARNINGS, up_to_date
from scope_batch.render.options import RenderOptions
from scope_batch.render.output_settings import (
    check_outputs_and_inputs,
    sink_settings,
    with_environment,
    with_metadata,
)
from scope_batch.render.prepare import outputs_of, prepare_job, unused_by_outputs
from scope_batch.render.run import peak_host_bytes
from scope_batch.sinks.output import Output
from scope_batch.sinks.output_set import SinkSettings, any_output_exists, claim_outputs, open_sinks
from scope_batch.sinks.uptodate import reasons_to_render, remember_outputs
from scope_batch.submit.connection import Answer, Server, UnknownJobError
from scope_batch.submit.download import fetch_frames
from scope_batch.submit.following import follow
from scope_batch.submit.packing import pack


@dataclass(frozen=True, slots=True)
class RemoteJob:
    """A job that is planned here and rendered on a server. `sinks` still lacks what only the server knows."""

    job: Job
    plan: Plan
    outputs: tuple[Output, ...]
    options: RenderOptions
    sinks: SinkSettings


def prepare_remote_job(job: Job, job_stem: str, options: RenderOptions, report: Report) -> RemoteJob | Finished:
    """Check a job and its outputs as `render` does, before anything is sent; a `Finished` if nothing is to be done."""
    plan = prepare_job(job)
    outputs = outputs_of(job, options.outputs, options.output_format, job_stem)
    if url := next((output.url for output in outputs if output.url is not None), None):
        raise UsageError(f"output {url}: submit writes its outputs on this machine; name a file with -o")
    warnings = [*plan.warnings, *unused_by_outputs(job, outputs, options.outputs)]
    if job.keep_state:
        warnings.append("keep_state has no effect: the server keeps no states")
    if job.models not in (None, TINY):
        warnings.append("models has no effect: the server's models are used")
    for warning in warnings[:MAX_WARNINGS]:
        report(Warned(warning))
    request = request_of(job, plan, options)
    sinks = sink_settings(job, plan, request, options, None)
    models = model_files_digests(request, plan, report) if job.models == TINY else {}
    reasons = []
    if any_output_exists(outputs, sinks) and not options.overwrite:
        expected = with_metadata(sinks, job, plan, models, store=options.metadata)
        reasons = reasons_to_render(outputs, plan, expected)
        if not reasons:
            finished = _finished("skipped", plan, message=up_to_date(request, expected))
            report(finished)
            return finished
    check_outputs_and_inputs(job, plan, outputs, sinks, options, reasons)
    return RemoteJob(job, plan, outputs, options, sinks)


def send(remote: RemoteJob, server: Server, report: Report) -> str:
    """Send the inputs and the job. Returns the id that the server gave it. Raises TemporaryError if it is busy."""
    packed = pack(remote.job)
    if packed.files:
        _refuse_if_busy(server)
    handles: dict[str, str] = {}
    total = sum(path.stat().st_size for path in packed.files.values())
    if packed.files:
        count = len(packed.files)
        report(Remote(f"sending {count} file{'s' if count > 1 else ''}, {size(total)}"))
    for name, path in packed.files.items():
        headers = {"X-SHA256": file_sha256(path), "Content-Type": "application/octet-stream"}

        def upload(path: Path = path, headers: dict[str, str] = headers) -> str:
            with path.open("rb") as file:
                return str(server.call("POST", "/api/v1/files", content=file, headers=headers)["file"])

        handles[name] = server.patiently(upload)
    body = {
        "job": packed.fields,
        "files": handles,
        "loras": packed.loras,
        "job_sha256": job_sha256(remote.job),
        "key": secrets.token_hex(16),
    }
    try:
        job = str(server.patiently(lambda: server.call("POST", "/api/v1/submissions", json=body))["job"])
    except UnknownJobError as error:
        raise UnavailableError(f"{server.url}: takes no jobs; this is scope-batch {__version__}") from error
    report(Submitted(job, server.url))
    return job


def fetch(
    remote: RemoteJob, server: Server, job: str, report: Report, on_end: Callable[[str], object] = lambda _: None
) -> Finished:
    """Follow a job to its end, and write its frames. Returns the last event, which is also reported.

    on_end  is called as by `follow`, before the frames are fetched.
    """
    started_s = time.monotonic()
    state = _state(server, job)
    if state["job_sha256"] not in (None, job_sha256(remote.job)):
        raise JobError(f"{server.url}: {job} is another job than {remote.job.source.name} is now")
    if ahead := state["jobs_ahead"]:
        report(Remote(f"waiting for {ahead} job{'s' if ahead > 1 else ''}"))
    follow(server, job, report, tuple(output.name for output in remote.outputs), on_end)
    result = _state(server, job)["result"]
    if result is None:
        raise UnknownJobError(f"{server.url}: the output of the job is gone")
    report(Remote(f"receiving {size(result['size_bytes'])}"))
    sinks = with_metadata(remote.sinks, remote.job, remote.plan, result["models_sha256"], store=remote.options.metadata)
    if result["environment"] is not None:
        sinks = with_environment(sinks, result["environment"])
    post = remote.plan.post_processing
    delivered = replace(remote.plan, post_processing=None if post is None else replace(post, processors=()))
    with (
        claim_outputs(remote.outputs, sinks) as publication,
        open_sinks(remote.outputs, delivered, sinks, publication) as writer,
    ):
        for received in fetch_frames(server, result, remote.plan.delivery):
            writer.submit(received, len(received.block))
    remember_outputs(remote.outputs, remote.plan, sinks)
    frames, seconds = remote.plan.delivery.frames, time.monotonic() - started_s
    finished = replace(
        _finished("done", remote.plan), frames=frames, render_s=seconds, fps=frames / seconds, outputs=writer.results()
    )
    report(finished)
    return finished


def _refuse_if_busy(server: Server) -> None:
    """Raise TemporaryError, before the inputs are sent, if the server would not take the job then."""
    try:
        jobs = server.patiently(lambda: server.call("GET", "/api/v1/jobs", params={"limit": 1}))
    except UnknownJobError:
        return  # it does not tell
    if jobs["active"] >= jobs["most_active"]:
        raise TemporaryError(f"{server.url}: busy: {jobs['active']} of at most {jobs['most_active']} jobs run or wait")


def _state(server: Server, job: str) -> Answer:
    return server.patiently(lambda: server.call("GET", f"/api/v1/jobs/{job}"))


def _finished(outcome: Literal["done", "skipped"], plan: Plan, message: str = "") -> Finished:
    return Finished(
        outcome=outcome,
        frames=0,
        num_frames=plan.delivery.frames,
        load_s=0.0,
        render_s=0.0,
        fps=0.0,
        peak_host_bytes=peak_host_bytes(),
        peak_device_bytes=0,
        outputs=(),
        message=message,
    )
