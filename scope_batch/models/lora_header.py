"""A LoRA file judged by its header: in milliseconds whatever its size. Torch-free: `plan` does it too."""

from __future__ import annotations

import re
from pathlib import Path

from scope_batch.errors import JobError
from scope_batch.files.access import is_file, reading
from scope_batch.files.safetensors_header import SafetensorsHeader, read_safetensors_header
from scope_batch.models.lora_alpha import alpha_rule
from scope_batch.models.lora_layout import LoraLayout, lora_layout
from scope_batch.models.words import first_names

_ARCHITECTURES = (
    (r"double_(?:stream_)?blocks|single_(?:stream_)?blocks|single_transformer_blocks", "Flux or HunyuanVideo"),
    (r"unet_(?:down|up|mid|input|output|middle)_block|unet\.(?:down|up|mid)_block", "Stable Diffusion"),
    (r"joint_blocks", "Stable Diffusion 3"),
)


def check_lora_header(path: Path) -> None:
    """Refuse a file that can be no LoRA for Wan, of whatever size.

    Raises MissingInputError, or JobError: no safetensors, damaged, truncated, made for another architecture, of a kind
    that cannot be applied, half a pair.
    """
    read_lora_layout(path)


def read_lora_layout(path: Path) -> LoraLayout:
    """As `check_lora_header`, and what the file holds."""
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
    """What the file seems to be made for; told only when it is not for Wan."""
    told = header.metadata.get("modelspec.architecture") or header.metadata.get("ss_base_model_version")
    if told:
        return f" (by its own word for {told[:60]})"
    keys = "\n".join(header.tensors)
    return next(
        (f" (it looks like one for {what})" for pattern, what in _ARCHITECTURES if re.search(pattern, keys)), ""
    )
