"""Represents the faults that validators report, and words pydantic's own errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

Loc = tuple[str | int, ...]
"""A place in the job: field names and list indexes, outermost first."""

AT_KEY = "fault_of_key"
"""Type of a fault that is about a key's presence; its line and column are the key's."""
AT_VALUE = "fault_of_value"
"""Type of a fault that is about a value."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A `message` at `loc`, relative to the validated model. `other`: a second place that the message is about."""

    loc: Loc
    message: str
    kind: str = AT_KEY
    other: Loc | None = None
    value: Any = field(default=None, compare=False)

    def details(self) -> InitErrorDetails:
        error = PydanticCustomError(
            AT_KEY if self.kind == AT_KEY else AT_VALUE, _literal(self.message), self._context()
        )
        return InitErrorDetails(type=error, loc=self.loc, input=self.value)

    def _context(self) -> dict[str, Any]:
        return {} if self.other is None else {"other": self.other}


def shown(value: Any) -> str:
    """Format a value for a message: on one line, as in YAML, long values shortened."""
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}...{text[-1]}"


def wrong(message: str) -> PydanticCustomError:
    """Return the error that a validator of one value raises."""
    return PydanticCustomError(AT_VALUE, _literal(message))


def raise_all(faults: Iterable[Fault], inner: ValidationError | None = None) -> None:
    """Raise one ValidationError with every fault and every error of `inner`, if there are any."""
    details = [fault.details() for fault in faults]
    if inner is not None:
        details += [
            InitErrorDetails(
                type=PydanticCustomError(error["type"], _literal(error["msg"]), error.get("ctx")),
                loc=error["loc"],
                input=error["input"],
            )
            for error in inner.errors(include_url=False)
        ]
    if details:
        raise ValidationError.from_exception_data("job", details) from None


def _literal(message: str) -> Any:
    """Satisfy pydantic's LiteralString. Any text is safe: only `{name}` of names in the context are replaced."""
    return message


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


def message_of(kind: str, fallback: str, value: Any, context: Mapping[str, Any]) -> str:
    """Return the message for an error of type `kind` about `value`. `fallback`: pydantic's message, for other kinds."""
    template = _MESSAGES.get(kind)
    if template is None:
        return fallback.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    context = {name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in context.items()}
    if kind == "multiple_of":
        step = context["multiple_of"]
        below = max(value // step * step, 64)
        context = {**context, "below": below, "above": below + step}
    return template.format(**{**context, "value": shown(value)})
