"""A number that may change from chunk to chunk."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from scope_batch.job.faults import AT_VALUE, Fault, raise_all, shown, wrong

Number = TypeVar("Number", int, float)

KEYFRAMES_UNAVAILABLE = (
    "keyframe schedules are not available yet; write a number, or a list: one number per chunk, the last one repeats"
)
_DEFORUM = re.compile(r"\s*\d+\s*:\s*\(.*\)\s*(,\s*\d+\s*:\s*\(.*\)\s*)*,?\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Schedule(Generic[Number]):
    """One number per chunk, at least one; the last one holds for all later chunks."""

    values: tuple[Number, ...]

    def at(self, chunk: int) -> Number:
        """The number of a chunk, index from 0."""
        return self.values[min(chunk, len(self.values) - 1)]

    def written(self) -> Number | list[Number]:
        """As in a job file: a number, or a list."""
        return self.values[0] if len(self.values) == 1 else list(self.values)


@dataclass(frozen=True, slots=True)
class Scheduled:
    """Annotation of a `Schedule` field: every number lies in low..high; `whole` takes integers only."""

    low: float
    high: float
    whole: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(Schedule.written),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        number = {"type": "integer" if self.whole else "number", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [number, {"type": "array", "items": number, "minItems": 1}]}

    def parse(self, value: Any) -> Schedule[Any]:
        if isinstance(value, Schedule):
            return value
        if isinstance(value, (list, tuple)):
            return self._of_list(value)
        if self._is_keyframes(value):
            raise wrong("only a number or a list of numbers" if self.whole else KEYFRAMES_UNAVAILABLE)
        if message := self.fault(value):
            raise wrong(message)
        return Schedule((self._number(value),))

    def fault(self, value: Any) -> str | None:
        """What is wrong with one number, or None."""
        kind = "a whole number" if self.whole else "a number"
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            return f"must be {kind} or a list of such, not {shown(value)}"
        if not math.isfinite(value) or not self.low <= value <= self.high:
            return f"must be {kind} in {self.low:.16g}..{self.high:.16g}, not {shown(value)}"
        return None

    def _of_list(self, values: list[Any] | tuple[Any, ...]) -> Schedule[Any]:
        if not values:
            raise wrong("must hold at least one number")
        faults = [(index, value, self.fault(value)) for index, value in enumerate(values)]
        raise_all(Fault((index,), message, AT_VALUE, value=value) for index, value, message in faults if message)
        return Schedule(tuple(self._number(value) for value in values))

    def _number(self, value: Any) -> int | float:
        return int(value) if self.whole else float(value)

    @staticmethod
    def _is_keyframes(value: Any) -> bool:
        if isinstance(value, dict):
            return bool(value) and all(str(key).isdigit() for key in value)
        return isinstance(value, str) and _DEFORUM.fullmatch(value) is not None
