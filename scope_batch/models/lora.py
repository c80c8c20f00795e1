"""LoRA files -> pairs of matrices for the modules of the diffusers model, every key accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from scope_batch.errors import JobError
from scope_batch.models.checkpoint import read_checkpoint
from scope_batch.models.folder import ModelFiles
from scope_batch.models.keys import first_names, to_diffusers_transformer

Pairs = dict[str, tuple[Tensor, Tensor]]
"""Module of the diffusers model -> (A [rank, in], B [out, rank])."""

_PEFT_PREFIX = "base_model.model."


def read_builtin_lora(files: ModelFiles, shapes: Mapping[str, torch.Size]) -> Pairs:
    """The pipeline's own LoRA, checked against the backbone's `shapes`; nothing where the pipeline has none."""
    if files.builtin_lora is None:
        return {}
    pairs = lora_to_diffusers(read_checkpoint(files.builtin_lora), files.builtin_lora)
    check_lora(pairs, shapes, files.builtin_lora, files.backbone)
    return pairs


def lora_to_diffusers(state: Mapping[str, Tensor], path: Path) -> Pairs:
    """A LoRA in PEFT's naming -> {module of `WanTransformer3DModel`: (A [rank, in], B [out, rank])}.

    Raises JobError for a key that is no half of a pair, and when every B is zero (nothing was trained, or loaded).
    """
    renamed = to_diffusers_transformer({key.removeprefix(_PEFT_PREFIX): tensor for key, tensor in state.items()})
    halves = [key for key in renamed if key.endswith((".lora_A.weight", ".lora_B.weight"))]
    modules = sorted({key.rsplit(".", 2)[0] for key in halves})
    known = {f"{module}.lora_{half}.weight" for module in modules for half in "AB"}
    if odd := sorted(known ^ set(renamed)):
        raise JobError(f"{path}: not a LoRA with lora_A and lora_B for each module; unmatched: {first_names(odd)}")
    pairs = {m: (renamed[f"{m}.lora_A.weight"], renamed[f"{m}.lora_B.weight"]) for m in modules}
    if not any(b.is_meta or bool(b.float().any()) for _, b in pairs.values()):
        raise JobError(f"{path}: every lora_B is zero, so it would change nothing")
    return pairs


def check_lora(pairs: Pairs, shapes: Mapping[str, torch.Size], path: Path, backbone: Path) -> None:
    """Every pair must land on a weight of the backbone (`shapes`, diffusers' keys) and fit it, else JobError."""
    if not pairs:
        raise JobError(f"{path}: holds no LoRA weights")
    missing = [module for module in pairs if f"{module}.weight" not in shapes]
    if missing:
        raise JobError(
            f"{path}: {len(missing)} of {len(pairs)} LoRA modules are not in {backbone.name}: {first_names(missing)}"
        )
    for module, (a, b) in pairs.items():
        out, inp = shapes[f"{module}.weight"]
        if a.shape[1:] != (inp,) or b.shape[:1] != (out,) or a.shape[0] != b.shape[1]:
            raise JobError(
                f"{path}: made for another model: {module} is [{out}, {inp}] in {backbone.name}, "
                f"the LoRA has A {list(a.shape)} and B {list(b.shape)}"
            )
