"""Defines numbers that may change during a video: per chunk, by keyframes, or by an expression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from scope_batch.job.faults import AT_KEY, AT_VALUE, Fault, raise_all, shown, wrong
from scope_batch.job.keyframes import EXAMPLE, MAX_FRAME, Keyframe, read_frame, read_keyframes

Number = TypeVar("Number", int, float)

NOISE_SCALE, CONTEXT_SCALE, LORA_SCALE, ATTENTION_BIAS = (0.0, 1.0), (0.0, 2.0), (-10.0, 10.0), (0.01, 1.0)
"""Minimum and maximum of the scheduled fields."""


@dataclass(frozen=True, slots=True)
class Schedule(Generic[Number]):
    """Either `values`, one per chunk, the last one used for all later chunks; or `keys`, at least one.

    text  the Deforum text that the keys were read from; None: they come from a map.
    """

    values: tuple[Number, ...] = ()
    keys: tuple[Keyframe, ...] = ()
    text: str | None = None

    def at(self, chunk: int) -> Number:
        """Return the number of a chunk, index from 0. Only for a schedule with `values`."""
        return self.values[min(chunk, len(self.values) - 1)]

    @property
    def constant(self) -> float | None:
        """The number, if it is the same in every chunk of the job; else None."""
        numbers = {*self.values, *(key.value for key in self.keys)}
        (only, *more) = numbers
        return only if not more and isinstance(only, (int, float)) else None

    def written(self) -> Number | list[Number] | dict[str, Any] | str:
        """Return the value for a job file: a number, a list, a map of keyframes, or a text."""
        if self.text is not None:
            return self.text
        if self.keys:
            return {str(key.frame): key.value for key in self.keys}
        return self.values[0] if len(self.values) == 1 else list(self.values)


@dataclass(frozen=True, slots=True)
class Scheduled:
    """Annotation of a `Schedule` field: every number is in low..high. `whole`: integers only, no keyframes."""

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
        choices: list[dict[str, Any]] = [number, {"type": "array", "items": number, "minItems": 1}]
        if not self.whole:
            frames = {"pattern": "^(0|[1-9][0-9]{0,7})$"}
            keys = {"type": "object", "propertyNames": frames, "additionalProperties": number, "minProperties": 1}
            choices += [keys, {"type": "string", "pattern": r":\s*\("}]
        return {"anyOf": choices}

    def parse(self, value: Any) -> Schedule[Any]:
        if isinstance(value, Schedule):
            return value
        if isinstance(value, (list, tuple)):
            return self._of_list(value)
        if isinstance(value, Mapping) and not self.whole:
            return self._of_map(value)
        if isinstance(value, str) and not self.whole:
            return self._of_text(value)
        if message := self.fault(value):
            raise wrong(message)
        return Schedule((self._number(value),))

    def fault(self, value: Any) -> str | None:
        """Return the fault of one number, or None."""
        kind = "a whole number" if self.whole else "a number"
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            return f"must be {kind} or a list of them, not {shown(value)}"
        if not self.low <= value <= self.high:  # NaN is in no range; an int may be too large for a float
            random = (
                "; there is no random seed: the same job makes the same video" if self.whole and value == -1 else ""
            )
            return f"must be {kind} in {self.low:.16g}..{self.high:.16g}, not {shown(value)}{random}"
        return None

    def _of_list(self, values: list[Any] | tuple[Any, ...]) -> Schedule[Any]:
        if not values:
            raise wrong("must hold at least one number")
        faults = [(index, value, self.fault(value)) for index, value in enumerate(values)]
        raise_all(Fault((index,), message, AT_VALUE, value=value) for index, value, message in faults if message)
        return Schedule(tuple(self._number(value) for value in values))

    def _of_map(self, written: Mapping[Any, Any]) -> Schedule[Any]:
        if not written:
            raise wrong("must hold at least one keyframe, such as {0: 0.5, 48: 1.0}")
        numbers: dict[int, Any] = {}
        faults: list[Fault] = []
        for key, value in written.items():
            frame = None if isinstance(key, bool) else read_frame(str(key))
            if frame is None:
                allowed = f"a keyframe's key is an output frame in 0..{MAX_FRAME}, not {shown(key)}"
                faults.append(Fault((str(key),), allowed, AT_KEY))
            elif frame in numbers:
                faults.append(Fault((str(key),), f"the keyframe {frame} is set twice", AT_KEY))
            elif (message := self.fault(value)) is not None:
                faults.append(Fault((str(key),), message.replace(" or a list of them", ""), AT_VALUE, value=value))
            else:
                numbers[frame] = self._number(value)
        raise_all(faults)
        return Schedule(keys=tuple(Keyframe(frame, numbers[frame]) for frame in sorted(numbers)))

    def _of_text(self, text: str) -> Schedule[Any]:
        if ":" not in text:
            kinds = "a number, a list of numbers, a map of keyframes {0: 0.5, 48: 1.0}, or a text of keyframes"
            raise wrong(f"must be {kinds} {EXAMPLE}, not {shown(text)}")
        try:
            keys = read_keyframes(text)
        except ValueError as error:
            raise wrong(str(error)) from None
        for key in keys:
            if isinstance(key.value, (int, float)) and (message := self.fault(key.value)):
                raise wrong(message)
        return Schedule(keys=keys, text=text)

    def _number(self, value: Any) -> int | float:
        return int(value) if self.whole else float(value)
