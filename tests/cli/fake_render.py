"""A fake render, controlled by the job's prompt. As a script, this file runs the whole program with it."""

from __future__ import annotations

import errno
import sys
import time
from pathlib import Path

import scope_batch.render.loop
from scope_batch.errors import ClosedPipeError, JobError, ScopeBatchError, TemporaryError
from scope_batch.events import ChunkDone, ChunkStarted, Finished, Loading, OutputFile, Report, Stage, Started, Warned
from scope_batch.job import Job
from scope_batch.render.chunk_stream import Stop
from scope_batch.render.options import RenderOptions

FAULTS = {
    "bad": JobError("job.yaml:1:1: first [bold]", "job.yaml:2:2: second"),
    "busy": TemporaryError("the encoder was killed"),
    "bug": ValueError("no\nway"),
    "full": OSError(errno.ENOSPC, "No space left on device", "out.mp4"),
    "closed": ClosedPipeError("standard output was closed by its reader"),
    "memory": MemoryError(),
}
SLEEP_S = 0.15
CALLS: list[tuple[str, RenderOptions]] = []


def render_job(
    job: Job, job_stem: str, options: RenderOptions, report: Report, stop: Stop, _engines: object
) -> Finished:
    """Report chunks of 12 frames. Prompt `slow` takes `SLEEP_S` per chunk; a key of `FAULTS` fails in the second."""
    CALLS.append((job_stem, options))
    prompt = job.prompt[0].text
    outputs = options.outputs or (f"{job_stem}.mp4",)
    assert isinstance(job.num_frames, int)
    frames, done = job.num_frames, 0
    report(Loading("transformer"))
    if prompt == "load":
        time.sleep(30)
    report(Started("slate", frames // 12, frames, 16.0, 480, 832, outputs, 0.5))
    try:
        for chunk in range(frames // 12):
            stop.check()
            report(ChunkStarted(chunk, prompt))
            report(Stage(chunk, "denoising", 1, 4))
            report(Warned("repeated in every chunk"))
            if prompt == "slow":
                time.sleep(SLEEP_S)
            if prompt == "stuck":
                time.sleep(30)
            if chunk == 1 and prompt in FAULTS:
                raise FAULTS[prompt]
            done += 12
            report(ChunkDone(chunk, frames // 12, 12, done, frames, 0.15, 1.0, 80.0, 0.5, prompt))
    except ScopeBatchError as error:
        report(_finished("interrupted", done, frames, "out.partial.mp4", str(error)))
        raise
    end = _finished("done", done, frames, *outputs)
    report(end)
    return end


def _finished(outcome: str, done: int, frames: int, path: str, message: str = "") -> Finished:
    files = (OutputFile(path, 1_300_000),) if done else ()
    return Finished(outcome, done, frames, 0.5, 2.0, 6.0, 3 << 30, 0, files, message)  # type: ignore[arg-type]


if __name__ == "__main__":
    from scope_batch.__main__ import main

    scope_batch.render.loop.render_job = render_job
    Path("ready").touch()
    sys.exit(main())
