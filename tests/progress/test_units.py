from __future__ import annotations

import pytest

from scope_batch.progress.wording import shortened, size, span


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1024, "1.0 KiB"), (1_300_000, "1.2 MiB"), (5 << 40, "5.0 TiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0 s"), (0.84, "0.8 s"), (42, "42 s"), (59.6, "1:00"), (185, "3:05"), (7200, "2:00:00")],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [("a cat", 5, "a cat"), ("a cat jumps", 6, "a cat…"), ("a\x1b[31m\ncat", 20, "a [31m cat"), ("cat", 0, "…")],
)
def test_prompts_are_one_harmless_line(text: str, width: int, short: str) -> None:
    assert shortened(text, width) == short
