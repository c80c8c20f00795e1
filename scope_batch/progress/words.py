"""Events as the lines that plain logs show; the bar borrows those that stay on the screen."""

from __future__ import annotations

from scope_batch.events import ChunkDone, Finished, Started
from scope_batch.progress.state import State
from scope_batch.progress.units import shortened, size, span

_PROMPT_WIDTH = 60


def outputs(started: Started) -> list[str]:
    return [f"output {path}" for path in started.outputs]


def start(started: Started) -> str:
    return (
        f"{started.pipeline_id}: {_count(started.num_frames, 'frame')} of {started.width}x{started.height} "
        f"at {started.fps:g} fps in {_count(started.chunks, 'chunk')}, loaded in {span(started.load_s)}"
    )


def chunk(done: ChunkDone, state: State) -> str:
    eta = "" if done.chunk + 1 >= done.chunks else f", ETA {span(done.eta_s)}"
    jobs_eta_s = state.jobs_eta_s(state.now_s) if state.batch.later_work else None
    eta += "" if jobs_eta_s is None else f", all jobs {span(jobs_eta_s)}"
    prompt = f', "{shortened(done.prompt, _PROMPT_WIDTH)}"' if done.prompt else ""
    counted = f"chunk {done.chunk + 1} of {done.chunks}: {done.frames_done}/{done.num_frames} frames"
    return f"{counted}, {done.fps:.2f} fps{eta}{prompt}"


def heartbeat(state: State, silent_s: float) -> str:
    where = f"chunk {state.chunk + 1} of {state.chunks}: " if state.in_flight else ""
    return f"{where}still {state.activity} ({span(silent_s)} since the last line)"


def end(finished: Finished) -> list[str]:
    """The closing lines: what came of it, how fast, how much memory, and each file with its size."""
    if finished.outcome == "skipped":
        return [result(finished)]
    if finished.outcome != "done" and not finished.frames:
        return []  # nothing to sum up: the error line says it all
    head = {"done": "done", "interrupted": "interrupted", "failed": "failed"}[finished.outcome]
    frames = (
        f"{finished.frames}"
        if finished.frames == finished.num_frames
        else f"{finished.frames} of {finished.num_frames}"
    )
    peak = f"peak memory {size(finished.peak_host_bytes)}"
    if finished.peak_device_bytes:
        peak += f", on the device {size(finished.peak_device_bytes)}"
    summary = (
        f"{head}: {frames} frames in {span(finished.render_s)} ({finished.fps:.2f} fps), "
        f"loaded in {span(finished.load_s)}, {peak}"
    )
    kind = "wrote" if finished.outcome == "done" else "kept"
    files = [f"{kind} {file.path} ({size(file.bytes)})" for file in finished.outputs]
    return [summary, *files]


def result(finished: Finished) -> str:
    """One line for a job that is through: done, or skipped and why."""
    if finished.outcome == "skipped":
        return f"skipped: {finished.message}"
    files = ", ".join(file.path for file in finished.outputs)
    made = f"{_count(finished.frames, 'frame')} in {span(finished.render_s)}"
    return f"{finished.outcome}: {made}{f' -> {files}' if files else ''}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
