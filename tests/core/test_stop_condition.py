from __future__ import annotations

import pytest

from scope_batch.core.stop_condition import FIGURES, parse_stop_condition
from scope_batch.media.figures import ChunkFigures


@pytest.mark.parametrize(
    ("text", "first", "now", "met"),
    [
        ("sharpness < 0.6 * first", 10, 6.1, False),
        ("sharpness < 0.6 * first", 10, 5.9, True),
        ("sharpness<0.6*first", 10, 5.9, True),
        ("red > 2 * first", 50, 101, True),
        ("flicker > 6", None, 7, True),
        ("flicker > 6", None, 5, False),
        ("flicker > 6", None, None, False),
        ("motion < 1 * first", None, 0, False),
    ],
)
def test_a_condition_is_met(text: str, first: float | None, now: float | None, met: bool) -> None:
    condition = parse_stop_condition(text)
    assert condition.is_met({condition.figure: first}, {condition.figure: now}) is met


@pytest.mark.parametrize("text", ["sharpness", "sharpness <= 3", "sharpness < first", "3 > red", "", "red < 1 * last"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be like"):
        parse_stop_condition(text)


def test_an_unknown_figure_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="'blur' is no figure; allowed: red, green"):
        parse_stop_condition("blur > 1")


def test_the_text_is_read_back() -> None:
    for text in ("sharpness < 0.6 * first", "flicker > 6"):
        assert str(parse_stop_condition(text)) == text


def test_the_figures_are_those_that_are_measured() -> None:
    assert set(FIGURES) == set(ChunkFigures.__dataclass_fields__) - {"chunk"}
