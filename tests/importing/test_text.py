"""Tests that any text of a prompt survives the import."""

from __future__ import annotations

import random
import sys

import pytest

from tests.importing.helpers import block, job_of, timeline

HARD = [
    "key: value # no comment", "- item", "'single' \"double\" \\ back\\slash", "line\nbreak\r\n\ttab", "no", "null",
    "1e3", "010", "1:30", "~", "{a: b}", "[x]", "*alias &anchor !tag", "%YAML 1.2", "--- x ...", " spaces ", "熊猫 🐼",
    "e\u0301 \u00a0 \u2028 \ufeff \ufffe \x7f \x85", "\x01\x1b[31mred", "$HOME ${HOME} $${x} $$ $", "${", "<<", "=",
    "👩‍🚀 \U0010ffff", "x" * 5000,
]  # fmt: skip


def carried(text: str) -> tuple[str, str, str]:
    """Import a text in each of the three places of a prompt."""
    job = job_of(timeline(block(0, 2, text, "b"), block(2, 4, text), block(4, 6, text, "c")))
    blend = job.chunk_specs[1].prompts
    assert blend is not None
    return job.prompt[0].text, job.chunk_specs[0].text or "", blend[0].text


@pytest.mark.parametrize("text", HARD, ids=ascii)
def test_a_hard_prompt_survives(text: str) -> None:
    assert carried(text) == (text,) * 3


def test_any_characters_survive() -> None:
    draw = random.Random(5)
    for _ in range(60):
        points = [draw.choice((draw.randrange(1, 0x180), draw.randrange(1, sys.maxunicode))) for _ in range(40)]
        text = "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)
        assert not text.strip() or carried(text) == (text,) * 3


def test_half_an_emoji_becomes_a_replacement_character() -> None:
    assert carried("cut \ud83d") == ("cut \ufffd",) * 3
