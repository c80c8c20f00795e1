"""Defines the field types of a job that need validators of their own: processors, outputs and paths of LoRA files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    Strict,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from scope_batch.core.output_formats import FILE_SUFFIXES
from scope_batch.core.registry import foreign
from scope_batch.core.stop_condition import EXAMPLE, StopCondition, parse_stop_condition
from scope_batch.errors import ScopeBatchError
from scope_batch.job.checked import Checked
from scope_batch.job.faults import AT_VALUE, Fault, message_of, raise_all, shown, wrong
from scope_batch.job.prompts import STRICT
from scope_batch.job.scalars import OutputPath, parse_input_path
from scope_batch.processors import PROCESSORS, Parameters, ProcessorSpec


def _known_processor(name: str) -> str:
    try:
        return PROCESSORS.get(name).id
    except ScopeBatchError as error:
        raise wrong(str(error)) from error


class ProcessorUse(Checked):
    """A processor and its parameters."""

    id: Annotated[str, AfterValidator(_known_processor)] = Field(
        description="Which processor.", json_schema_extra=lambda schema: schema.update(examples=[*PROCESSORS.ids()])
    )
    params: dict[str, Any] = Field(default={}, description="The processor's own parameters; absent ones have defaults.")

    @classmethod
    def faults(cls, written: Mapping[str, Any]) -> list[Fault]:
        name, params = written.get("id"), written.get("params", {})
        if not isinstance(name, str) or not isinstance(params, dict):
            return []  # the field's own error reports it
        try:
            with foreign(PROCESSORS.where(name)):
                return list(_parameter_faults(PROCESSORS.get(name), params))
        except ScopeBatchError:
            return []  # the id's own error reports it


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


def _stop_conditions(value: Any) -> Any:
    """Turn a single condition into a list of one."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise wrong(f'must be a condition like "{EXAMPLE}", or a list of these, not {shown(value)}')
    try:
        return tuple(parse_stop_condition(text) for text in texts)
    except ValueError as error:
        raise wrong(str(error)) from error


StopConditions = Annotated[
    tuple[StopCondition, ...],
    PlainValidator(_stop_conditions, json_schema_input_type=str | list[str]),
    PlainSerializer(lambda conditions: [str(condition) for condition in conditions]),
]


def as_uses(value: Any) -> Any:
    """Turn a single processor into a list of one, and ids into maps."""
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


class Encoder(BaseModel):
    """Options of the video encoder. Defaults depend on the container."""

    model_config = STRICT

    codec: str | None = Field(
        default=None, min_length=1, description="Encoder, such as libx264, libvpx-vp9 or ffv1 (lossless)."
    )
    crf: int | None = Field(default=None, ge=0, le=63, description="Quality: lower is better and larger.")
    preset: str | None = Field(default=None, min_length=1, description="Speed against size, such as veryfast or slow.")
    pix_fmt: str | None = Field(default=None, min_length=1, description="Pixel format, such as yuv420p.")


class Output(Encoder):
    """One output. Absent encoder options come from the job's `video`."""

    path: OutputPath = Field(
        description=f"File {FILE_SUFFIXES}, a sequence such as frames/%05d.png, or - for standard output."
    )


def as_outputs(value: Any) -> Any:
    """Turn a path or a map into a list of one, and paths in a list into maps."""
    if isinstance(value, (str, dict, Output)):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise wrong(f"must be a path, a map with a path, or a list of these, not {shown(value)}")
    return tuple({"path": item} if isinstance(item, str) else item for item in value)


Outputs = Annotated[
    tuple[Output, ...],
    Strict(False),
    BeforeValidator(as_outputs, json_schema_input_type=str | Output | list[str | Output]),
]


Scale = TypeVar("Scale")
SUFFIX = ".safetensors"


def parse_lora_path(key: Any) -> str:
    """Return the absolute path of a LoRA file. Links are kept, so that the file has the same name as in the job."""
    path = parse_input_path(key)
    if path.suffix.lower() != SUFFIX:
        raise wrong(f"a LoRA is a {SUFFIX} file, not {Path(key).suffix or 'one without a suffix'}")
    return str(path)


def as_lora_scales(value: Any) -> Any:
    """Return the map with absolute paths as keys."""
    if not isinstance(value, Mapping):
        raise wrong(f"must be a map {{file.safetensors: scale}}, not {shown(value)}")
    scales: dict[str, Any] = {}
    spelled: dict[str, Any] = {}
    faults: list[Fault] = []
    for key, scale in value.items():
        try:
            path = parse_lora_path(key)
        except PydanticCustomError as error:
            faults.append(Fault((str(key),), error.message()))
            continue
        file = os.path.realpath(path)
        if file in spelled:
            faults.append(Fault((str(key),), f"the same file is already in the list, as {spelled[file]}"))
        spelled.setdefault(file, key)
        scales[path] = scale
    raise_all(faults)
    return scales


LoraScales = Annotated[dict[str, Scale], BeforeValidator(as_lora_scales)]
