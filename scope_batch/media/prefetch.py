"""Reads the inputs of the next chunk while the current chunk is generated."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, Protocol, TypeVar

from scope_batch.media.patience import POLL_S, CheckStop, Patience, never_stop
from scope_batch.media.source import Closing

Request = TypeVar("Request", contravariant=True)
Read = TypeVar("Read", covariant=True)


class Reader(Protocol[Request, Read]):
    def read(self, request: Request, /) -> Read: ...

    def interrupt(self) -> None:
        """Make a running `read` fail soon; called from another thread."""

    def close(self) -> None: ...


class ReadAhead(Closing, Generic[Request, Read]):
    """Reads all `requests` in order, one ahead, in its own thread, which is started only if there are any.

    It owns the reader: `close` ends the thread, then closes the reader with its files and decoders.
    """

    def __init__(self, reader: Reader[Request, Read], requests: Iterable[Request]) -> None:
        self._reader = reader
        self._requests = iter(requests)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="input")
        self._reading: deque[Future[Read]] = deque()
        self._read_ahead()

    def get(self, check_stop: CheckStop = never_stop) -> Read:
        """Return the result of the next request. Raises the error of its `read`; IndexError after the last.

        If the reader stalls for `STALL_S` while `check_stop` raises, that error is raised.
        """
        reading = self._reading.popleft()
        patience = Patience("the input", check_stop)
        while not wait([reading], POLL_S).done:
            patience.check()
        read = reading.result()
        self._read_ahead()
        return read

    def close(self) -> None:
        """Interrupt a running read and close the reader. May be called twice, and at any time."""
        for future in self._reading:
            future.cancel()
        self._reader.interrupt()
        self._pool.shutdown()
        self._reader.close()

    def _read_ahead(self) -> None:
        for request in self._requests:
            self._reading.append(self._pool.submit(self._reader.read, request))
            break
