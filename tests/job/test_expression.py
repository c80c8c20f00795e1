from __future__ import annotations

import math

import pytest

from scope_batch.job.expression import MAX_DEPTH, MAX_LENGTH, read_expression

NAMES = ("t", "s", "max_f")
AT = {"t": 3.0, "s": 42.0, "max_f": 48.0}


def value(text: str) -> float:
    return read_expression(text, NAMES).value(AT)


def fault(text: str) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        value(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.0 - 0.5*sin(t)", 1 - 0.5 * math.sin(3)),
        ("max_f/2", 24),
        ("-t**2", -9),
        ("7 // 2 + 7 % 4", 6),
        ("where(t > 5, 1, 0)", 0),
        ("where((t > 1) & (t < 5), s, 0)", 42),
        ("1 if t >= 3 and not t == 4 else 2", 1),
        ("1 < t < 4", 1),
        ("min(t, 2, 5) + max(t, 2)", 5),
        ("atan2(1, 1) + arctan2(1, 1)", math.pi / 2),
        ("arcsin(1) + asin(1)", math.pi),
        ("log(e) + log10(100) + log(8, 2)", 6),
        ("round(2.6) + floor(-0.5) + ceil(0.5) + round(0.123, 2)", 3.12),
        ("abs(-2) + pow(2, 3) + sqrt(16) + exp(0)", 15),
        ("\n cos(\n pi)\t", -1),
    ],
)
def test_it_evaluates(text: str, expected: float) -> None:
    assert value(text) == pytest.approx(expected)


def test_a_branch_that_is_not_taken_is_not_evaluated() -> None:
    assert read_expression("where(t > 0, 1/t, 0)", ("t",)).value({"t": 0.0}) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed", "'speed' is unknown; the names are e, max_f, pi, s, t"),
        ("sin", "'sin' is a function, it takes values in parentheses"),
        ("f(1)", "'f' is not a function; allowed: abs, "),
        ("__import__('os')", "'__import__' is not a function"),
        ("t.real", "a dot is not allowed"),
        ("(1).__class__", "a dot is not allowed"),
        ("[1][0]", "an index is not allowed"),
        ("'a' * 9", "is not allowed in an expression, numbers are"),
        ("True", "'True' is not allowed"),
        ("2j", "'2j' is not allowed"),
        ("[t for t in s]", "ListComp is not allowed"),
        ("lambda: 1", "lambda is not allowed"),
        ("(lambda: 1)()", "is not a function"),
        ("(t := 3)", "NamedExpr is not allowed"),
        ("t ^ 2", "BitXor is not allowed"),
        ("t is 3", "Is is not allowed"),
        ("min(*t)", "min takes 2 or more values, not 1"),
        ("sin(t, t)", "sin takes 1 value, not 2"),
        ("sin(x=1)", "sin takes 1 value"),
        ("where(t, 1)", "where takes 3 values, not 2"),
        ("t = 3", "'t = 3' is not an expression"),
        ("1 +", "is not an expression"),
        ("\0", "is not an expression"),
        ("", "is empty"),
        ("1/(t - 3)", "divides by zero"),
        ("1 % 0", "divides by zero"),
        ("sqrt(-1)", "has no value"),
        ("(-8) ** 0.5", "has no value"),
        ("1e999", "is not a finite number"),
        ("1e308 * 10 - 1e308 * 10", "is not a finite number"),
        ("exp(1000)", "is too large a number"),
        ("9" * 400, "a number is too large"),
    ],
)
def test_a_wrong_expression_is_refused(text: str, message: str) -> None:
    assert message in fault(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(" * 10_000 + "1" + ")" * 10_000, f"at most {MAX_LENGTH}"),
        ("(" * 1_900 + "1" + ")" * 1_900, f"deeper than {MAX_DEPTH}"),
        ("sin(" * 700 + "1" + ")" * 700, f"deeper than {MAX_DEPTH}"),
        ("-" * 3_900 + "1", "'---"),  # too deep for Python's own parser, or for this program, as the version has it
        ("1" + "+1" * 1_900, f"deeper than {MAX_DEPTH}"),
        ("9**9**9", "too large"),
        ("9**9**9**9", "too large"),
        ("*".join(["floor(1e308)"] * 100), "too large"),
    ],
)
def test_an_endless_computation_is_refused_at_once(text: str, message: str) -> None:
    assert message in fault(text)  # otherwise it would go on for hours


def test_the_deepest_accepted_expression_can_be_evaluated() -> None:
    assert value("+".join(["t"] * MAX_DEPTH)) == 3 * MAX_DEPTH


@pytest.mark.parametrize(("text", "number"), [("0.5", 0.5), ("-2", -2.0), ("+ 1", 1.0), ("1/2", None), ("t", None)])
def test_a_lone_number_is_recognised(text: str, number: float | None) -> None:
    assert read_expression(text, NAMES).number == number
