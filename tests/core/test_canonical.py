from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scope_batch.core.canonical import canonical


@dataclass(frozen=True)
class Value:
    number: float
    aside: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Other:
    number: float


EQUAL: list[tuple[Any, Any]] = [
    (1, 1.0),
    (0.5, Fraction(1, 2)),
    (0.0, -0.0),
    (range(0, 5, 2), range(0, 6, 2)),
    (range(0), range(3, 3)),
    ({"a": 1, "b": 2}, MappingProxyType({"b": 2, "a": 1})),
    (Path("a/b"), Path("a//b")),
    (Value(1, aside=1), Value(1, aside=2)),
]
DIFFERENT: list[tuple[Any, Any]] = [
    (0.1, Fraction(1, 10)),
    (1, "1"),
    (None, "null"),
    ("a", Path("a")),
    (("a", "b"), ("a,b",)),
    (("a",), "a"),
    ({"a": None}, {}),
    (range(3), (0, 1, 2)),
    (range(2), range(0, 4, 2)),
    (Value(1), Other(1)),
    (float("inf"), float("nan")),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_values_have_the_same_text(one: Any, other: Any) -> None:
    assert one == other and canonical(one) == canonical(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_values_have_different_texts(one: Any, other: Any) -> None:
    assert one != other and canonical(one) != canonical(other)


def test_a_value_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no canonical text"):
        canonical({"a": [object()]})


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3) | st.fractions()
VALUES = st.recursive(SCALARS, lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=2), each))


@given(VALUES, VALUES)
def test_texts_are_equal_if_and_only_if_the_values_are(one: Any, other: Any) -> None:
    assert (canonical(one) == canonical(other)) == (one == other)


def test_a_mapping_of_another_package_counts_as_a_mapping() -> None:
    values: Mapping[str, Any] = MappingProxyType({"size": (1, 2)})
    assert canonical(values) == '{"size":[1,2]}'
