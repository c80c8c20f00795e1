from __future__ import annotations

import io

import pytest

from scope_batch.progress import Style, TolerantStream, resolved


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("style", "stream", "term", "shown"),
    [
        ("auto", Terminal(), "xterm", "rich"),
        ("auto", Terminal(), "dumb", "plain"),
        ("auto", io.StringIO(), "xterm", "plain"),
        ("rich", io.StringIO(), "xterm", "rich"),
        ("rich", Terminal(), "dumb", "plain"),
        ("plain", Terminal(), "xterm", "plain"),
        ("json", Terminal(), "xterm", "json"),
        ("none", Terminal(), "xterm", "none"),
    ],
)
def test_the_bar_needs_a_terminal_that_can(style: Style, stream: io.StringIO, term: str, shown: Style) -> None:
    assert resolved(style, TolerantStream(stream), {"TERM": term}) == shown
