"""The keys of `lora_scales`: paths of LoRA files, each file once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from scope_batch.job.faults import Fault, raise_all, shown, wrong
from scope_batch.job.scalars import parse_input_path

Scale = TypeVar("Scale")
SUFFIX = ".safetensors"


def parse_lora_path(key: Any) -> str:
    """The absolute path of a LoRA file. Links in it stay, so that its name is the one that the job gives it."""
    path = parse_input_path(key)
    if path.suffix.lower() != SUFFIX:
        raise wrong(f"a LoRA is a {SUFFIX} file, not {Path(key).suffix or 'one without a suffix'}")
    return str(path)


def as_lora_scales(value: Any) -> Any:
    """The map with its keys absolute."""
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
            faults.append(Fault((str(key),), f"the same file stands here already, as {spelled[file]}"))
        spelled.setdefault(file, key)
        scales[path] = scale
    raise_all(faults)
    return scales


LoraScales = Annotated[dict[str, Scale], BeforeValidator(as_lora_scales)]
