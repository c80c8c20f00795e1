"""pydantic's own errors in this program's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scope_batch.job.faults import shown

_MESSAGES = {
    "missing": "is required",
    "model_type": "must be a map of fields, not {value}",
    "string_type": "must be a text, not {value}; quotes make one",
    "int_type": "must be a whole number, not {value}",
    "int_from_float": "must be a whole number, not {value}",
    "float_type": "must be a number, not {value}",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false, not {value}",
    "list_type": "must be a list, not {value}",
    "tuple_type": "must be a list, not {value}",
    "dict_type": "must be a map, not {value}",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "greater_than": "must be more than {gt}, not {value}",
    "less_than": "must be less than {lt}, not {value}",
    "greater_than_equal": "must be at least {ge}, not {value}",
    "less_than_equal": "must be at most {le}, not {value}",
    "multiple_of": "must be a multiple of {multiple_of}, not {value} ({below} and {above} are)",
    "literal_error": "must be {expected}, not {value}",
}


def message_of(kind: str, said: str, value: Any, context: Mapping[str, Any]) -> str:
    """The message on an error of type `kind` about `value`; `said`: pydantic's own, for types that have no better."""
    template = _MESSAGES.get(kind)
    if template is None:
        return said.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    context = {name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in context.items()}
    if kind == "multiple_of":
        step = context["multiple_of"]
        below = max(value // step * step, 64)
        context = {**context, "below": below, "above": below + step}
    return template.format(**{**context, "value": shown(value)})
