"""Lists every file that a job reads, and makes a job that can travel without local folders or environment values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel

from scope_batch.job.faults import Loc
from scope_batch.job.positions import Source

PATH_FIELDS = frozenset(
    ("input_path", "data_blob_path", "vace_frames", "vace_masks", "vace_ref_images", "input_video", "audio", "models",
     "first_frame_image", "last_frame_image", "image", "images")
)  # fmt: skip
"""Fields that hold paths of inputs; relative ones start at the folder of their text."""
_VARIABLE = re.compile(r"(\$\{\w+)[^{}]*\}")
"""A variable with its default, which may be a path."""
WORDS = {"audio": ("none", "input"), "models": ("tiny", "random")}
"""Values of path fields that are not paths."""
OUTPUT_FIELDS = frozenset(("output", "path"))
TEXT_FIELDS = PATH_FIELDS | OUTPUT_FIELDS | {"prompt", "text"}
"""Fields whose values are always texts."""


def field_of(loc: Loc) -> str:
    """Return the innermost field name of a place: "vace_ref_images" for an item of that list."""
    return next((part for part in reversed(loc) if isinstance(part, str)), "")


def public_dict(values: Any, source: Source) -> Any:
    """Return a job's `values` (plain JSON) with base names in place of paths, and with `${VAR}` as written."""
    return _public(values, source, (), lora_names(values))


def lora_names(values: dict[str, Any]) -> dict[str, str]:
    """Return path -> base name of every LoRA of a job. Names that two files share are numbered."""
    maps = [values, *values.get("chunk_specs", ())]
    names: dict[str, str] = {}
    for path in (PurePath(key) for entry in maps for key in entry.get("lora_scales") or ()):
        name, number = path, 1
        while name.name in names.values() and str(path) not in names:
            number += 1
            name = path.with_stem(f"{path.stem}-{number}")
        names.setdefault(str(path), name.name)
    return names


def _public(values: Any, source: Source, loc: Loc, loras: Mapping[str, str]) -> Any:
    if isinstance(values, dict):
        names = loras if loc[-1:] == ("lora_scales",) else {}
        return {names.get(key, key): _public(value, source, (*loc, key), loras) for key, value in values.items()}
    if isinstance(values, list):
        return [_public(value, source, (*loc, index), loras) for index, value in enumerate(values)]
    _, mark = source.known(loc)
    text = values if mark is None or mark.written is None else mark.written
    name = field_of(loc)
    if isinstance(text, str) and name in PATH_FIELDS | OUTPUT_FIELDS and text not in WORDS.get(name, ()):
        return PurePath(_VARIABLE.sub(r"\1}", text)).name or text
    if isinstance(text, str) and "params" in loc and PurePath(text).is_absolute():
        return PurePath(text).name or text  # probably a file that a processor reads
    return text


def public_prompts(job: BaseModel, source: Source) -> dict[str, str]:
    """Return each prompt that is not written in the job as it is, with the text to show: `${VAR}` as written."""
    values = job.model_dump(mode="json", exclude_defaults=True)
    pairs = _texts(values, public_dict(values, source))
    return {text: written for text, written in pairs if text != written}


def _texts(values: Any, public: Any) -> Iterator[tuple[str, str]]:
    if isinstance(values, str):
        yield values, str(public)
    elif isinstance(values, dict):
        for one, other in zip(values.values(), public.values(), strict=True):
            yield from _texts(one, other)
    elif isinstance(values, list):
        for one, other in zip(values, public, strict=True):
            yield from _texts(one, other)


def with_paths(value: Any, name: str, loc: Loc, path_of: Callable[[str, str, Loc], str]) -> Any:
    """Return `value` with paths in place of names. `name`: the field that holds it."""
    if name == "lora_scales":
        return {path_of(key, name, loc): scale for key, scale in value.items()} if isinstance(value, dict) else value
    if isinstance(value, dict):
        return {
            key: with_paths(inner, name if name == "params" else key, (*loc, key), path_of)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [with_paths(item, name, (*loc, index), path_of) for index, item in enumerate(value)]
    if name == "params":  # of a processor, which may read a file
        is_name = isinstance(value, str) and not {"/", "\\"}.isdisjoint(value)
    else:
        is_name = isinstance(value, str) and name in PATH_FIELDS and value not in WORDS.get(name, ())
    return path_of(value, name, loc) if is_name else value


NOT_INPUTS = frozenset(("models", "output"))
"""Fields with paths that are not inputs."""


def named_inputs(job: BaseModel) -> Iterator[tuple[Loc, Path]]:
    """Yield (place, path) of every input in the order of the fields. Places: ("vace_frames",), ("chunk_specs", 2,
    "first_frame_image"), ("lora_scales", "/loras/dissolve.safetensors")."""
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
