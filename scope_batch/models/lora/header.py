"""Checks LoRA files by their headers alone, in milliseconds: their kind, and their shapes against the model.

Torch-free, so that `plan` can do it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scope_batch.errors import JobError
from scope_batch.events import Report, Warned, silent
from scope_batch.files.access import is_file, reading
from scope_batch.files.safetensors_header import SafetensorsHeader, read_safetensors_header
from scope_batch.models.layout import first_names
from scope_batch.models.lora.alpha import alpha_rule
from scope_batch.models.lora.key_names import LoraLayout, Shape, is_of_image_to_video, is_of_vace, lora_layout

_ARCHITECTURES = (
    (r"double_(?:stream_)?blocks|single_(?:stream_)?blocks|single_transformer_blocks", "Flux or HunyuanVideo"),
    (r"unet_(?:down|up|mid|input|output|middle)_block|unet\.(?:down|up|mid)_block", "Stable Diffusion"),
    (r"joint_blocks", "Stable Diffusion 3"),
)


def check_lora_header(path: Path) -> None:
    """Raise JobError for a file that cannot be a LoRA for Wan of any size, or MissingInputError if it is missing.

    Refused are files that are not safetensors, damaged, truncated, for another architecture, of a kind that cannot be
    applied, or with half a pair.
    """
    read_lora_layout(path)


def read_lora_layout(path: Path) -> LoraLayout:
    """Check the header as `check_lora_header` does, and return the layout of the file."""
    if is_file(path) and path.suffix != ".safetensors":
        raise JobError(f"{path}: a LoRA is read from a .safetensors file, nothing else")
    header = _header(path)
    shapes = {key: entry.shape for key, entry in header.tensors.items()}
    layout = lora_layout(path, shapes, alpha_rule(path, header.metadata), _architecture(header))
    integers = [key for key in layout.weights if "F" not in header.tensors[key].dtype]
    if integers:
        raise JobError(f"{path}: {first_names(integers)}: {header.tensors[integers[0]].dtype}, but weights are floats")
    return layout


def _header(path: Path) -> SafetensorsHeader:
    with reading(path), path.open("rb") as file:
        return read_safetensors_header(file, str(path))


def _architecture(header: SafetensorsHeader) -> str:
    """Name the model that the file seems to be for, in words for the error about a file that is not for Wan."""
    architecture = header.metadata.get("modelspec.architecture") or header.metadata.get("ss_base_model_version")
    if architecture:
        return f" (its metadata names {architecture[:60]})"
    keys = "\n".join(header.tensors)
    return next(
        (f" (it looks like one for {what})" for pattern, what in _ARCHITECTURES if re.search(pattern, keys)), ""
    )


Shapes = Mapping[str, Shape]
"""Shape by parameter of diffusers' model."""

_MODEL_OF_WIDTH = {1536: "Wan 1.3B", 3072: "Wan2.2 5B", 5120: "Wan 14B"}


def check_loras(
    paths: Sequence[Path], backbone: Shapes, vace: Shapes | None, model: str, report: Report = silent
) -> tuple[LoraLayout, ...]:
    """Return the layout of each file, without the parts that the model does not have, from the headers alone.

    backbone, vace  the model's parameters; vace is None when that module is not loaded.
    model           name of the model in messages.
    Raises MissingInputError, or JobError with one line for each file that does not fit. Reports a warning for each kind
    of parts that is left out.
    """
    fits: list[LoraLayout] = []
    problems: list[str] = []
    for path in paths:
        try:
            layout, left_out = fitting(read_lora_layout(path), backbone, vace, model)
        except JobError as error:
            problems += error.problems
            continue
        fits.append(layout)
        for what in left_out:
            report(Warned(f"{path.name}: parts left out: {what}"))
    if problems:
        raise JobError(*problems)
    return tuple(fits)


def fitting(layout: LoraLayout, backbone: Shapes, vace: Shapes | None, model: str) -> tuple[LoraLayout, list[str]]:
    """Return the part of `layout` that the model has, and descriptions of the parts that it does not have.

    Raises JobError if nothing remains, if more than half is unknown, or if a pair or difference has another size.
    """
    shapes = {**backbone, **(vace or {})}
    targets = {module: f"{module}.weight" for module in layout.pairs} | {name: name for name in layout.diffs}
    absent = [target for target, parameter in targets.items() if parameter not in shapes]
    dropped = set(absent)
    fits = replace(
        layout,
        pairs={module: keys for module, keys in layout.pairs.items() if module not in dropped},
        diffs={name: key for name, key in layout.diffs.items() if name not in dropped},
    )
    _check_sizes(fits, shapes, model)
    for_vace = [target for target in absent if is_of_vace(target) and vace is None]
    for_images = [target for target in absent if is_of_image_to_video(target)]
    others = [target for target in absent if target not in {*for_vace, *for_images}]
    if others and 2 * len(others) > len(targets):
        raise JobError(
            f"{layout.path}: {len(others)} of {len(targets)} LoRA modules are not in {model}: {first_names(others)}"
        )
    reasons = {
        "for VACE, which the job does not use": for_vace,
        "for image-to-video models": for_images,
        f"not in {model}": others,
        "unknown": layout.unknown,
    }
    left_out = [f"{len(names)} {reason} ({first_names(names)})" for reason, names in reasons.items() if names]
    if len(absent) == len(targets):
        raise JobError(f"{layout.path}: none of its parts can be used: {'; '.join(left_out)}")
    return fits, left_out


def _check_sizes(layout: LoraLayout, shapes: Shapes, model: str) -> None:
    for module, keys in layout.pairs.items():
        out, *inp = shapes[f"{module}.weight"]
        a, b = layout.shapes[keys.a], layout.shapes[keys.b]
        if math.prod(a[1:]) != math.prod(inp) or b[0] != out or math.prod(b) != b[0] * b[1]:
            raise JobError(
                f"{layout.path}: made for another model: {module} is {[out, *inp]} in {model}, "
                f"the LoRA has A {list(a)} and B {list(b)}{_model_hint(module, a[-1] if len(a) == 2 else 0)}"
            )
        if keys.bias is not None and layout.shapes[keys.bias] != (out,):
            raise JobError(f"{layout.path}: made for another model: {keys.bias} is {list(layout.shapes[keys.bias])}")
    for parameter, key in layout.diffs.items():
        if tuple(layout.shapes[key]) != tuple(shapes[parameter]):
            raise JobError(
                f"{layout.path}: made for another model: {parameter} is {list(shapes[parameter])} in {model}, "
                f"the LoRA has {list(layout.shapes[key])}"
            )


def _model_hint(module: str, width: int) -> str:
    model = _MODEL_OF_WIDTH.get(width) if ".attn" in module else None
    return f"; that is {model}" if model else ""
