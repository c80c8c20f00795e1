"""Checks and evaluates arithmetic of a job, such as `1.0 - 0.5*sin(t)`.

`ast` parses an expression when the job is read; the tables below list the allowed nodes, names and functions. It is
compiled once, and evaluated for every chunk when the job is planned. Numbers are floats, so nothing grows beyond 1e308;
length and depth are checked before anything is built.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType
from typing import Any

MAX_LENGTH = 4000
MAX_DEPTH = 120
CONSTANTS = {"pi": math.pi, "e": math.e}


def _round(number: float, digits: float = 0) -> float:
    return round(number, int(digits))


_ANY = 100
FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    **{name: (getattr(math, name), 1, 1) for name in (
        "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "sqrt", "exp", "log10", "floor", "ceil",
    )},
    **{f"arc{name}": (getattr(math, f"a{name}"), 1, 1) for name in ("sin", "cos", "tan")},
    "atan2": (math.atan2, 2, 2), "arctan2": (math.atan2, 2, 2), "pow": (math.pow, 2, 2),
    "log": (math.log, 1, 2), "abs": (math.fabs, 1, 1), "round": (_round, 1, 2),
    "min": (min, 2, _ANY), "max": (max, 2, _ANY),
}  # fmt: skip
"""Name -> function, minimum and maximum of arguments. `where(condition, a, b)` becomes `a if condition else b`."""
_ALLOWED = (
    ast.expr_context, ast.boolop, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.BitAnd, ast.BitOr,
    ast.USub, ast.UAdd, ast.Not, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq,
)  # fmt: skip
_FIXED_NAMES: dict[str, Any] = {
    "__builtins__": {}, **CONSTANTS, **{name: function for name, (function, _, _) in FUNCTIONS.items()},
}  # fmt: skip
_BRACKETS = re.compile(r"[()\[\]{}]")


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression; two of the same text are equal."""

    text: str
    _tree: ast.expr = field(compare=False, repr=False)

    @property
    def number(self) -> float | None:
        """The number, if the text is only a number with or without a sign; else None."""
        tree, sign = self._tree, 1.0
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, (ast.USub, ast.UAdd)):
            sign = -1.0 if isinstance(tree.op, ast.USub) else 1.0
            tree = tree.operand
        return sign * tree.value if isinstance(tree, ast.Constant) and isinstance(tree.value, float) else None

    def value(self, variables: Mapping[str, float]) -> float:
        """Evaluate to a finite number; `variables` holds every allowed name. Raises ValueError with the reason."""
        try:
            # Safe: the tree holds nothing but the nodes, names and functions listed above.
            value = float(eval(_compiled(self), _FIXED_NAMES, variables))
        except ZeroDivisionError:
            raise ValueError("divides by zero") from None
        except OverflowError:
            raise ValueError("is too large a number") from None
        except (ValueError, TypeError):
            raise ValueError("has no value (a root or logarithm of a negative number, perhaps)") from None
        if not math.isfinite(value):
            raise ValueError("is not a finite number")
        return value


def read_expression(text: str, variables: tuple[str, ...]) -> Expression:
    """Parse `text`. Only `variables`, constants and functions are allowed as names.

    Raises ValueError with the reason and the allowed alternatives.
    """
    text = " ".join(text.split())
    _check_size(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"{short(text)} is not an expression, such as 1.0 - 0.5*sin(t)") from None
    _check_depth(tree, text)
    return Expression(text, _Checked(variables).visit(tree))


@lru_cache(maxsize=256)
def _compiled(expression: Expression) -> CodeType:
    body = ast.Expression(expression._tree)
    return compile(ast.fix_missing_locations(body), "<expression>", "eval")


def short(text: str, longest: int = 40) -> str:
    """Quote and shorten a text for a message."""
    return repr(text if len(text) <= longest else f"{text[: longest - 3]}...")


def _check_size(text: str) -> None:
    if not text:
        raise ValueError("an expression is empty")
    if len(text) > MAX_LENGTH:
        raise ValueError(f"an expression of {len(text)} characters; at most {MAX_LENGTH} are allowed")
    depth = 0
    for bracket in _BRACKETS.findall(text):
        depth += 1 if bracket in "([{" else -1
        if depth > MAX_DEPTH:
            raise ValueError(f"an expression is nested deeper than {MAX_DEPTH} levels")


def _check_depth(tree: ast.expr, text: str) -> None:
    level: list[ast.AST] = [tree]
    for _ in range(MAX_DEPTH + 1):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise ValueError(f"{short(text)} is nested, or chained, deeper than {MAX_DEPTH} levels")


class _Checked(ast.NodeTransformer):
    """Rejects all nodes that are not listed; numbers become floats, `where` a conditional that evaluates one branch."""

    def __init__(self, variables: tuple[str, ...]) -> None:
        self._names = {*variables, *CONSTANTS}

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, _ALLOWED):
            raise ValueError(f"{_kind(node)} is not allowed in an expression")
        return super().generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if type(node.value) not in (int, float):
            raise ValueError(f"{short(repr(node.value))} is not allowed in an expression, numbers are")
        try:
            return ast.copy_location(ast.Constant(float(node.value)), node)  # type: ignore[arg-type]  # checked above
        except OverflowError:
            raise ValueError("a number is too large") from None

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """Replace `**` by math.pow, which overflows at once; `**` would build ever larger integers."""
        if isinstance(node.op, ast.Pow):
            power = ast.Name("pow", ast.Load())
            return ast.Call(power, [self.visit(node.left), self.visit(node.right)], [])
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.Name:
        if node.id not in self._names:
            names = ", ".join(sorted(self._names))
            reason = "is a function, it takes values in parentheses" if node.id in FUNCTIONS else "is unknown"
            raise ValueError(f"{short(node.id)} {reason}; the names are {names}")
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        least, most = (3, 3) if name == "where" else FUNCTIONS.get(name, (None, 0, 0))[1:]
        if not most:
            allowed = ", ".join(sorted((*FUNCTIONS, "where")))
            raise ValueError(f"{short(name or ast.unparse(node.func))} is not a function; allowed: {allowed}")
        if node.keywords or not least <= len(node.args) <= most:
            takes = f"{least}" if least == most else f"{least} or {'more' if most == _ANY else most}"
            raise ValueError(f"{name} takes {takes} value{'s' if takes != '1' else ''}, not {len(node.args)}")
        values = [self.visit(value) for value in node.args]
        if name == "where":
            return ast.IfExp(*values)
        return ast.Call(node.func, values, [])


def _kind(node: ast.AST) -> str:
    return {"Attribute": "a dot", "Subscript": "an index", "JoinedStr": "a text", "Lambda": "lambda"}.get(
        type(node).__name__, type(node).__name__
    )
