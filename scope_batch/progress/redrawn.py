"""Redraws a part of a terminal in place while permanent lines are printed above it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live

from scope_batch.progress.stream import TolerantStream


class Redrawn:
    """The part of the terminal at `stream` that `draw` returns, while the context is entered.

    forced  draw also if the stream is no terminal.
    """

    def __init__(self, stream: TolerantStream, draw: Callable[[], RenderableType], *, forced: bool) -> None:
        self._console = Console(
            file=stream.as_file(), force_terminal=True if forced else None, highlight=False, markup=False, emoji=False
        )
        self._get_renderable = draw

    def __enter__(self) -> Self:
        self._live = Live(  # draws at once, so not before the object is complete
            console=self._console,
            get_renderable=self._get_renderable,
            transient=True,
            refresh_per_second=8,
            redirect_stdout=False,  # standard output may carry frames
        )
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._live.stop()
        finally:
            # A second signal may interrupt `stop`.
            self._console.show_cursor(True)
