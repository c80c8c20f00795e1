"""Summarizes the events so far in one frozen value, which all displays show."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scope_batch.events import ChunkDone, ChunkStarted, Event, Finished, Loading, Remote, Resumed, Stage, Started


@dataclass(frozen=True, slots=True)
class Batch:
    """The position of a job among the jobs of one call.

    position    from 1.
    later_work  work of the following jobs, as a multiple of the work of this one; with several devices, per device.
    device      where this job is rendered, if there are several devices.
    """

    position: int = 1
    jobs: int = 1
    later_work: float = 0.0
    device: str = ""


LONE_JOB = Batch()


@dataclass(frozen=True, slots=True)
class State:
    """The progress of a render. Chunks count from 0; `_s` values are seconds of the reporter's clock or durations.

    chunk         the current chunk; equals `chunks` once the last one is done.
    first_chunk   the chunk at which the render began or was continued.
    activity      the current activity: "loading transformer", "denoising 3 of 4" ...
    chunk_at_s    start of the current chunk.
    chunk_s       duration of the last finished chunk, None before the first.
    eta_at_s      expected end of the render, None before the first chunk is done.
    jobs_eta_at_s expected end of the last job of the call; None also for a single job.
    """

    now_s: float = 0.0
    started: bool = False
    finished: bool = False
    activity: str = "preparing"
    chunk: int = 0
    chunks: int = 0
    first_chunk: int = 0
    frames_done: int = 0
    num_frames: int = 0
    fps: float = 0.0
    prompt: str = ""
    chunk_at_s: float = 0.0
    chunk_s: float | None = None
    eta_at_s: float | None = None
    jobs_eta_at_s: float | None = None
    batch: Batch = LONE_JOB

    @property
    def busy(self) -> bool:
        """True between the first chunk and the end, when an immediate stop would lose frames."""
        return self.started and not self.finished

    @property
    def in_flight(self) -> bool:
        return self.busy and self.chunk < self.chunks

    def chunk_left_s(self, now_s: float) -> float | None:
        """Return the expected seconds until the current chunk is done, judged by the previous one."""
        return None if self.chunk_s is None else max(0.0, self.chunk_at_s + self.chunk_s - now_s)

    def eta_s(self, now_s: float) -> float | None:
        return None if self.eta_at_s is None else max(0.0, self.eta_at_s - now_s)

    def jobs_eta_s(self, now_s: float) -> float | None:
        """Return the expected seconds until all jobs of the call are done, None for a single job."""
        return None if self.jobs_eta_at_s is None else max(0.0, self.jobs_eta_at_s - now_s)


def after(state: State, event: Event, now_s: float) -> State:
    """Return the state after `event` at `now_s`."""
    state = replace(state, now_s=now_s)
    match event:
        case Loading(what=what):
            return replace(state, activity=f"loading {what}")
        case Remote(what=what):
            return replace(state, activity=what)
        case Started(chunks=chunks, num_frames=num_frames):
            return replace(
                state, started=True, chunks=chunks, num_frames=num_frames, activity="starting", chunk_at_s=now_s
            )
        case Resumed(chunk=chunk, first_frame=first_frame):
            return replace(state, chunk=chunk, first_chunk=chunk, frames_done=first_frame)
        case ChunkStarted(chunk=chunk, prompt=prompt):
            return replace(state, chunk=chunk, prompt=prompt, chunk_at_s=now_s)
        case Stage(chunk=chunk, stage=stage, step=step, steps=steps):
            if state.in_flight and chunk < state.chunk:
                return state  # a stage of the writer, behind the engine, whose stage is the one to show
            return replace(state, activity=f"{stage} {step} of {steps}" if steps else stage)
        case ChunkDone():
            return _chunk_done(state, event, now_s)
        case Finished():
            return replace(state, finished=True)
    return state


def _chunk_done(state: State, done: ChunkDone, now_s: float) -> State:
    last = done.chunk + 1 >= done.chunks
    whole_s = (done.elapsed_s + done.eta_s) * done.chunks / (done.chunks - state.first_chunk)
    later_s = whole_s * state.batch.later_work
    return replace(
        state,
        chunk=done.chunk + 1,
        chunks=done.chunks,
        frames_done=done.frames_done,
        num_frames=done.num_frames,
        fps=done.fps,
        prompt=done.prompt,
        chunk_at_s=now_s,
        chunk_s=done.seconds,
        eta_at_s=now_s + done.eta_s,
        jobs_eta_at_s=now_s + done.eta_s + later_s if state.batch.jobs > 1 else None,
        activity="finishing the outputs" if last else state.activity,
    )
