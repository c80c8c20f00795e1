"""Reports the events of a render: keeps the state and passes each event to all displays."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Protocol, Self

from scope_batch.errors import Interrupted, TimeLimitError
from scope_batch.events import Event, Finished, Warned
from scope_batch.progress.summary import LONE_JOB, Batch, State, after
from scope_batch.progress.wording import span

Clock = Callable[[], float]
"""Returns seconds of a monotonic clock."""


class Display(Protocol):
    """Shows events. A context manager that restores the terminal on exit.

    `show` and `note` are called with the reporter's lock held, so by one thread at a time.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None: ...

    def show(self, event: Event, state: State) -> None:
        """`state` already contains `event`."""
        ...

    def note(self, line: str) -> None:
        """Show a line that is not an event, such as the answer to a signal."""
        ...


class Reporter:
    """A `Report` for one render, callable from any thread. Repeated warnings are passed on once.

    If the context is left by an exception before the last event was reported, it reports a `Finished` event itself.
    `end`: the `Finished` event, once it was reported.
    """

    def __init__(self, displays: Sequence[Display], clock: Clock = time.monotonic, batch: Batch = LONE_JOB) -> None:
        self._displays = displays
        self._clock = clock
        self._lock = threading.RLock()
        self._warned: set[str] = set()
        self._stack = ExitStack()
        self.state = State(now_s=clock(), batch=batch)
        self.end: Finished | None = None

    def __enter__(self) -> Self:
        with self._stack as stack:
            for display in self._displays:
                stack.enter_context(display)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None and not self.state.finished:
                self(_unfinished(error, self.state))
        finally:
            self._stack.__exit__(kind, error, trace)

    def __call__(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, Warned):
                if event.message in self._warned:
                    return
                self._warned.add(event.message)
            if isinstance(event, Finished):
                self.end = event
            self.state = after(self.state, event, self._clock())
            for display in self._displays:
                display.show(event, self.state)

    def begin_again(self, batch: Batch) -> None:
        """Forget the progress so far: the job is rendered again, or continued, elsewhere."""
        with self._lock:
            self.state = State(now_s=self._clock(), batch=batch)

    def note(self, line: str) -> None:
        with self._lock:
            for display in self._displays:
                display.note(line)

    def finishing(self, *, again: bool) -> str:
        """Return the answer to a request to stop: what it waits for. `again`: a second request stops at once."""
        state, hint = self.state, "; press again to stop now" if again else ""
        if not state.in_flight:
            return f"finishing the outputs{hint}"
        left_s = state.chunk_left_s(self._clock())
        about = "" if left_s is None else f" (about {span(left_s)})"
        return f"finishing chunk {state.chunk + 1}{about}{hint}"


def _unfinished(error: BaseException, state: State) -> Finished:
    """Return the last event of a render that ended before it wrote anything."""
    stopped = isinstance(error, Interrupted | TimeLimitError | KeyboardInterrupt)
    return Finished(
        outcome="interrupted" if stopped else "failed",
        frames=0,
        num_frames=state.num_frames,
        load_s=0.0,
        render_s=0.0,
        fps=0.0,
        peak_host_bytes=0,
        peak_device_bytes=0,
        outputs=(),
        message=str(error),
    )
