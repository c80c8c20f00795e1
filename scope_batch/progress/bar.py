"""Shows progress on a terminal: two lines redrawn in place, with permanent lines printed above them."""

from __future__ import annotations

import time

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from scope_batch.events import Event, Finished, Resumed, Started, Submitted, Warned
from scope_batch.progress import wording
from scope_batch.progress.redrawn import Redrawn
from scope_batch.progress.reporter import Clock
from scope_batch.progress.stream import TolerantStream
from scope_batch.progress.summary import State
from scope_batch.progress.wording import shortened, span

NARROW = 60
"""Width in columns below which only the numbers are shown, without the bar."""
LONG_S = 2.0
"""Seconds after which the duration of an activity is shown."""


class Bar(Redrawn):
    """Draws on `stream`. `forced`: also if it is not a terminal."""

    def __init__(self, stream: TolerantStream, clock: Clock = time.monotonic, *, forced: bool = False) -> None:
        self._clock = clock
        super().__init__(stream, self._draw, forced=forced)
        self._state = State(now_s=clock())
        self._activity_at_s = clock()
        self._spinner = Spinner("dots" if self._console.encoding.startswith("utf") else "line")

    def show(self, event: Event, state: State) -> None:
        if state.activity != self._state.activity:
            self._activity_at_s = self._clock()
        self._state = state
        match event:
            case Resumed():
                self._print(wording.resumed(event))
            case Submitted():
                self._print(wording.submitted(event))
            case Started():
                self._print(*wording.outputs(event), wording.start(event))
            case Warned(message=message):
                self._print(f"warning: {message}", style="yellow")
            case Finished():
                self._live.refresh()  # remove the bar before the closing lines are printed
                self._print(*wording.end(event))

    def note(self, line: str) -> None:
        self._print(line, style="yellow")

    def _print(self, *lines: str, style: str = "") -> None:
        for line in lines:
            self._console.print(Text(line, style=style), soft_wrap=True)

    def _draw(self) -> RenderableType:
        state, width = self._state, self._console.width
        if state.finished:
            return Text("")
        lines: list[RenderableType] = [self._counts(state, width)] if state.started else []
        return Group(*lines, self._activity(state, width))

    def _counts(self, state: State, width: int) -> RenderableType:
        eta_s, jobs_eta_s = state.eta_s(self._clock()), state.jobs_eta_s(self._clock())
        job = f"job {state.batch.position}/{state.batch.jobs} " if state.batch.jobs > 1 else ""
        chunk = f"{job}chunk {min(state.chunk + 1, state.chunks)} of {state.chunks}"
        eta = [] if eta_s is None else [f"ETA {span(eta_s)}"]
        eta += [] if jobs_eta_s is None or not state.batch.later_work else [f"all {span(jobs_eta_s)}"]
        frames = f"{state.frames_done}/{state.num_frames} frames"
        if width < NARROW:
            return Text("  ".join([chunk, *eta, frames]), no_wrap=True, overflow="ellipsis")
        fps = [f"{state.fps:.2f} fps"] if state.frames_done else []
        row = Table.grid(padding=(0, 2, 0, 0), expand=True)
        cells: list[RenderableType] = [chunk, ProgressBar(state.num_frames, state.frames_done), frames, *fps, *eta]
        for cell in cells:
            row.add_column(ratio=1 if isinstance(cell, ProgressBar) else None, no_wrap=True)
        row.add_row(*cells)
        return row

    def _activity(self, state: State, width: int) -> RenderableType:
        since_s = self._clock() - self._activity_at_s
        activity = f"{state.activity} ({span(since_s)})" if since_s >= LONG_S else state.activity
        line = f'{activity} · "{state.prompt}"' if state.prompt and state.in_flight else activity
        self._spinner.update(text=Text(shortened(line, width - 3), style="dim"))
        return self._spinner
