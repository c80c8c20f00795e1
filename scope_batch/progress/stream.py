"""Writes to a text stream and tolerates failures: a closed log must not end a render."""

from __future__ import annotations

import io
from typing import IO, TextIO, cast


class TolerantStream:
    """Writes to `stream` until a write fails; from then on discards all text."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        if self.failure is None:
            try:
                self._stream.write(text)
            except OSError as error:
                self.failure = error
        return len(text)

    def flush(self) -> None:
        if self.failure is None:
            try:
                self._stream.flush()
            except OSError as error:
                self.failure = error

    def line(self, text: str) -> None:
        """Write one line and flush, so that an interrupted log ends with a complete line."""
        self.write(text + "\n")
        self.flush()

    def close(self) -> None:
        try:
            self._stream.close()
        except OSError as error:
            self.failure = self.failure or error

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        return self._stream.encoding

    def as_file(self) -> IO[str]:
        """Return this object under the type that rich expects; rich calls the methods above only."""
        return cast("IO[str]", self)


class Nowhere(io.StringIO):
    """Replaces a standard stream that the caller has closed."""

    def write(self, text: str) -> int:
        return len(text)
