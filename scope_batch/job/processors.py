"""Processors of a job: an id, a map {id, params}, or a list of these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, Strict, ValidationError

from scope_batch.core.plugins import foreign
from scope_batch.errors import ScopeBatchError
from scope_batch.job.checked import Checked
from scope_batch.job.faults import AT_VALUE, Fault, shown, wrong
from scope_batch.job.messages import message_of
from scope_batch.processors import PROCESSORS, Parameters, ProcessorSpec


def _known_processor(name: str) -> str:
    try:
        return PROCESSORS.get(name).id
    except ScopeBatchError as error:
        raise wrong(str(error)) from error


class ProcessorUse(Checked):
    """A processor, and what it is made from."""

    id: Annotated[str, AfterValidator(_known_processor)] = Field(
        description="Which processor.", json_schema_extra=lambda schema: schema.update(examples=[*PROCESSORS.ids()])
    )
    params: dict[str, Any] = Field(
        default={}, description="The processor's own parameters; those not given have defaults."
    )

    @classmethod
    def faults(cls, written: Mapping[str, Any]) -> list[Fault]:
        name, params = written.get("id"), written.get("params", {})
        if not isinstance(name, str) or not isinstance(params, dict):
            return []  # the field's own error says so
        try:
            with foreign(PROCESSORS.where(name)):
                return list(_parameter_faults(PROCESSORS.get(name), params))
        except ScopeBatchError:
            return []  # so does the id's


def _parameter_faults(spec: ProcessorSpec, params: Mapping[str, Any]) -> Iterator[Fault]:
    try:
        spec.read(params)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            kind, loc = details["type"], ("params", *details["loc"])
            if kind == "extra_forbidden":
                yield Fault(loc, f"{spec.id} has no such parameter; {_allowed(spec.parameters)}")
            else:
                message = message_of(kind, details["msg"], details["input"], details.get("ctx", {}))
                yield Fault(loc, message, AT_VALUE)


def _allowed(parameters: type[Parameters]) -> str:
    return f"allowed: {', '.join(parameters.model_fields)}" if parameters.model_fields else "it has none"


def as_uses(value: Any) -> Any:
    """One becomes a list of one; ids become maps."""
    if isinstance(value, (str, dict, ProcessorUse)):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise wrong(f"must be the id of a processor, a map with an id, or a list of these, not {shown(value)}")
    return tuple({"id": item} if isinstance(item, str) else item for item in value)


Processors = Annotated[
    tuple[ProcessorUse, ...],
    Strict(False),
    BeforeValidator(as_uses, json_schema_input_type=str | ProcessorUse | list[str | ProcessorUse]),
]
