"""`${VAR}` in the texts of a job file: environment variables, with bash's defaults and messages; `$$` is a `$`."""

from __future__ import annotations

import re
from collections.abc import Mapping

_DOLLAR = re.compile(r"\$(?:(?P<escape>\$)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<kind>:[-?])(?P<word>[^{}]*))?\}|(?P<bad>\{))")


def replace_variables(text: str, environ: Mapping[str, str]) -> str:
    """`text` with its variables replaced. Raises ValueError for one that is not set or not well formed.

    `${VAR:-default}` and `${VAR:?message}` treat an empty variable as not set; a lone `$` stays.
    """

    def value(match: re.Match[str]) -> str:
        if match["escape"]:
            return "$"
        if match["bad"]:
            raise ValueError("${ must be followed by NAME}, NAME:-default} or NAME:?message}; $${ is a literal ${")
        return _value(match["name"], match["kind"], match["word"], environ)

    return _DOLLAR.sub(value, text)


def has_variable(text: str) -> bool:
    return any(match["name"] for match in _DOLLAR.finditer(text))


def _value(name: str, kind: str | None, word: str | None, environ: Mapping[str, str]) -> str:
    found = environ.get(name)
    if kind is None:
        if found is None:
            raise ValueError(f"the environment variable {name} is not set; ${{{name}:-default}} gives a default")
        return found
    if not found and kind == ":?":
        raise ValueError(f"the environment variable {name} is not set: {' '.join((word or 'it is needed').split())}")
    return found or word or ""
