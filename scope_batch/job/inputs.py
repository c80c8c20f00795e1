"""Every file that a job reads, with the place that names it: found by the type of the value, so none is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from scope_batch.job.faults import Loc

NOT_INPUTS = frozenset(("models", "output"))
"""Fields that hold paths of something else."""


def named_inputs(job: BaseModel) -> Iterator[tuple[Loc, Path]]:
    """(place, path) in the order of the fields: ("vace_frames",), ("chunk_specs", 2, "first_frame_image"),
    ("lora_scales", "/loras/dissolve.safetensors")."""
    for name in type(job).model_fields:
        if name not in NOT_INPUTS:
            yield from _paths_in(getattr(job, name), (name,))


def _paths_in(value: Any, loc: Loc) -> Iterator[tuple[Loc, Path]]:
    if isinstance(value, Path):
        yield loc, value
    elif isinstance(value, BaseModel):
        for inner, path in named_inputs(value):
            yield (*loc, *inner), path
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _paths_in(item, (*loc, index))
    elif isinstance(value, dict) and loc[-1] == "lora_scales":
        yield from (((*loc, key), Path(key)) for key in value)
