"""Reads what the next chunk is made from while the current chunk is made."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, Protocol, TypeVar

from scope_batch.media.patience import POLL_S, CheckStop, Patience, never_stop
from scope_batch.media.source import Closing

Asked = TypeVar("Asked", contravariant=True)
Read = TypeVar("Read", covariant=True)


class Reader(Protocol[Asked, Read]):
    def read(self, asked: Asked, /) -> Read: ...

    def interrupt(self) -> None:
        """From another thread: make a `read` that is under way fail soon."""

    def close(self) -> None: ...


class ReadAhead(Closing, Generic[Asked, Read]):
    """Has everything of `asked` read in order, one ahead, on a thread of its own; nothing asked, no thread.

    Owns the reader: `close` ends the thread, then the reader with its files and decoders.
    """

    def __init__(self, reader: Reader[Asked, Read], asked: Iterable[Asked]) -> None:
        self._reader = reader
        self._asked = iter(asked)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="input")
        self._reading: deque[Future[Read]] = deque()
        self._read_ahead()

    def get(self, check_stop: CheckStop = never_stop) -> Read:
        """What was read for the next of `asked`. Raises what its reading raised; IndexError after the last.

        A decoder that stands still is given up some time after `check_stop` has begun to raise, with what it raises.
        """
        reading = self._reading.popleft()
        patience = Patience("the input", check_stop)
        while not wait([reading], POLL_S).done:
            patience.check()
        read = reading.result()
        self._read_ahead()
        return read

    def close(self) -> None:
        """May be called again, and at any time: a read that is under way is broken off."""
        for future in self._reading:
            future.cancel()
        self._reader.interrupt()
        self._pool.shutdown()
        self._reader.close()

    def _read_ahead(self) -> None:
        for asked in self._asked:
            self._reading.append(self._pool.submit(self._reader.read, asked))
            break
