"""Shows several renders on a terminal: a table redrawn in place, a row for each job in work, lines printed above it."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scope_batch.events import Event
from scope_batch.progress.lines import PlainLines
from scope_batch.progress.redrawn import Redrawn
from scope_batch.progress.reporter import Clock, Display
from scope_batch.progress.stream import TolerantStream
from scope_batch.progress.summary import State
from scope_batch.progress.wording import shortened, span

_JOB_WIDTH, _ACTIVITY_WIDTH = 32, 24


class Board(Redrawn):
    """Draws on `stream`, which nobody else writes meanwhile: `above` is the stream for other lines.

    jobs    how many jobs the command has; forced: draw also if the stream is not a terminal.
    """

    def __init__(
        self, stream: TolerantStream, jobs: int, clock: Clock = time.monotonic, *, forced: bool = False
    ) -> None:
        self._clock = clock
        self._jobs = jobs
        self._rows: dict[str, State] = {}
        self._done = 0
        super().__init__(stream, self._draw, forced=forced)
        self.above = _Above(self._console, stream)

    def row(self, job: str) -> Display:
        """Return the display of one job: its row, and its lines above the table."""
        return _Row(self, job)

    def set(self, job: str, state: State | None) -> None:
        """Show the state of a job; None: it is not in work any more."""
        rows = {name: row for name, row in self._rows.items() if name != job}
        self._rows = rows if state is None else rows | {job: state}
        self._done += state is None

    def _draw(self) -> RenderableType:
        now_s, rows = self._clock(), self._rows
        table = Table(box=None, pad_edge=False, expand=True, header_style="dim")
        for column in ("job", "device", "chunk", "", "frames", "fps", "ETA", ""):
            table.add_column(column, no_wrap=True, ratio=1 if not column else None)
        for job, state in rows.items():
            eta_s = state.eta_s(now_s)
            table.add_row(
                shortened(job, _JOB_WIDTH),
                state.batch.device,
                f"{min(state.chunk + 1, state.chunks)} of {state.chunks}" if state.started else "",
                ProgressBar(state.num_frames, state.frames_done) if state.started else "",
                f"{state.frames_done}/{state.num_frames}" if state.started else "",
                f"{state.fps:.2f}" if state.frames_done else "",
                "" if eta_s is None else span(eta_s),
                Text(shortened(state.activity, _ACTIVITY_WIDTH), style="dim"),
            )
        ends_s = [end_s for state in rows.values() if (end_s := state.jobs_eta_s(now_s)) is not None]
        whole = f", all in about {span(max(ends_s))}" if ends_s else ""
        table.caption = Text(f"{self._done} of {self._jobs} jobs ended{whole}", style="dim")
        table.caption_justify = "left"
        return table


class _Row(PlainLines):
    """The row of one job; its permanent lines are those of plain progress, but for chunks."""

    def __init__(self, board: Board, job: str) -> None:
        super().__init__(board.above, job=job, chunks=False)
        self._board = board

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.set(self._job, None)

    def show(self, event: Event, state: State) -> None:
        super().show(event, state)
        self._board.set(self._job, state)


class _Above(TolerantStream):
    """Prints lines above the table."""

    def __init__(self, console: Console, stream: TolerantStream) -> None:
        super().__init__(stream.as_file())  # type: ignore[arg-type]  # it stands for the file, and has what is written to
        self._console = console

    def line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)
