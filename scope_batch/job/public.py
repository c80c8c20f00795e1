"""A job as it may travel inside a video: without local folders and without the values of environment variables."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

from scope_batch.job.faults import Loc
from scope_batch.job.source import Source

PATH_FIELDS = frozenset(
    ("input_path", "data_blob_path", "vace_frames", "vace_masks", "vace_ref_images", "input_video", "audio", "models",
     "first_frame_image", "last_frame_image", "image", "images")
)  # fmt: skip
"""Fields that hold paths of inputs; relative ones start at the folder of the text they stand in."""
_VARIABLE = re.compile(r"(\$\{\w+)[^{}]*\}")
"""A variable and its default, which may itself be a path."""
WORDS = {"audio": ("none", "input"), "models": ("tiny",)}
"""Values of path fields that are no paths."""
OUTPUT_FIELDS = frozenset(("output", "path"))
TEXT_FIELDS = PATH_FIELDS | OUTPUT_FIELDS | {"prompt", "text"}
"""Fields whose values are texts, whatever they look like."""


def field_of(loc: Loc) -> str:
    """The innermost field name of a place: "vace_ref_images" of an item of that list."""
    return next((part for part in reversed(loc) if isinstance(part, str)), "")


def public_dict(values: Any, source: Source, loc: Loc = ()) -> Any:
    """`values` (plain JSON) with base names in place of paths and `${VAR}` as the job has it."""
    if isinstance(values, dict):
        return {_name(key, loc): public_dict(value, source, (*loc, key)) for key, value in values.items()}
    if isinstance(values, list):
        return [public_dict(value, source, (*loc, index)) for index, value in enumerate(values)]
    _, mark = source.known(loc)
    text = values if mark is None or mark.written is None else mark.written
    name = field_of(loc)
    if isinstance(text, str) and name in PATH_FIELDS | OUTPUT_FIELDS and text not in WORDS.get(name, ()):
        return PurePath(_VARIABLE.sub(r"\1}", text)).name or text
    return text


def _name(key: str, loc: Loc) -> str:
    return PurePath(key).name if field_of(loc) == "lora_scales" else key
