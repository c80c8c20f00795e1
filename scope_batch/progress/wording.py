"""Formats events, numbers and prompts as text for plain logs and for the bar."""

from __future__ import annotations

from scope_batch.events import Assigned, ChunkDone, Finished, Resumed, Started, Submitted
from scope_batch.progress.summary import State


def size(count: int) -> str:
    """Format bytes with a binary unit: 999 B, 1.2 MiB."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def span(seconds: float) -> str:
    """Format a duration: 0.8 s, 42 s, 3:05, 2:00:00."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def shortened(text: str, width: int) -> str:
    """Return `text` on one line of at most `width` characters, without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= width else line[: max(0, width - 1)].rstrip() + "…"


_PROMPT_WIDTH = 60


def outputs(started: Started) -> list[str]:
    return [f"output {path}" for path in started.outputs]


def assigned(event: Assigned, state: State) -> str:
    batch = state.batch
    return f"job {batch.position} of {batch.jobs}" + (f", attempt {event.attempt}" if event.attempt > 1 else "")


def resumed(event: Resumed) -> str:
    again = f"{_count(event.again, 'stored chunk')} generated again"
    if event.chunk == 0:
        return f"beginning at frame 0: {event.folder} has no state to continue from, {again}"
    stored = f"continuing at frame {event.first_frame}: {_count(event.chunk, 'chunk')} from {event.folder}"
    return f"{stored}, {again}" if event.again else stored


def submitted(event: Submitted) -> str:
    return f"{event.server} has the job: {event.job}"


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
    position = f"chunk {done.chunk + 1} of {done.chunks}: {done.frames_done}/{done.num_frames} frames"
    return f"{position}, {done.fps:.2f} fps{eta}{prompt}"


def heartbeat(state: State, silent_s: float) -> str:
    where = f"chunk {state.chunk + 1} of {state.chunks}: " if state.in_flight else ""
    return f"{where}still {state.activity} ({span(silent_s)} since the last line)"


_AGAIN = {
    True: ("the chunks are stored: the same command continues behind them",),
    False: ("the chunks were not stored: the same command begins anew; with --resume a short render stores them, too",),
}
"""What follows from a render that was interrupted or failed, by whether its chunks are stored."""


def end(finished: Finished) -> list[str]:
    """Return the closing lines: outcome, speed, memory, and each file with its size."""
    if finished.outcome == "skipped":
        return [result(finished)]
    if finished.outcome != "done" and not finished.frames:
        return []  # the error line is enough
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
    again = _AGAIN[finished.stored] if finished.outputs and finished.stored is not None else ()
    return [summary, *files, *again]


def result(finished: Finished) -> str:
    """Return one line for a finished job: its outcome, and the reason if it was skipped."""
    if finished.outcome == "skipped":
        return f"skipped: {finished.message}"
    files = ", ".join(file.path for file in finished.outputs)
    summary = f"{_count(finished.frames, 'frame')} in {span(finished.render_s)}"
    return f"{finished.outcome}: {summary}{f' -> {files}' if files else ''}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
