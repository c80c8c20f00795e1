"""Reads the tensors of LoRAs, by module of diffusers' model, and merges LoRAs into the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from scope_batch.errors import JobError
from scope_batch.events import Report, silent
from scope_batch.models import keys
from scope_batch.models.checkpoint import State, read_checkpoint, read_shapes
from scope_batch.models.folder import ModelFiles
from scope_batch.models.lora.alpha import AlphaRule
from scope_batch.models.lora.header import check_loras, fitting
from scope_batch.models.lora.key_names import LoraLayout, PairKeys, lora_layout


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """The pair of one module, which adds scale * factor * B A to its weight.

    a [rank, in ...], b [out, rank ...], in the file's dtype on the CPU. factor: see `alpha.AlphaRule`.
    """

    a: Tensor
    b: Tensor
    factor: float

    @property
    def rank(self) -> int:
        return self.a.shape[0]

    def matrices(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return A [rank, in * kernel] and B [out, rank] in float32, for linear layers and convolutions alike."""
        return self.a.to(device).float().flatten(1), self.b.to(device).float().flatten(1)


@dataclass(frozen=True, slots=True, eq=False)
class Lora:
    """A LoRA in memory.

    pairs  by module of diffusers' model.
    diffs  whole differences, float32 in the parameter's shape, by parameter; they are scaled and added.
    """

    path: Path
    pairs: Mapping[str, Pair]
    diffs: Mapping[str, Tensor]


def read_loras(paths: Sequence[Path], files: ModelFiles, report: Report = silent) -> list[Lora]:
    """Read the job's LoRAs; all headers are checked before the first file is read.

    Raises MissingInputError, or JobError with one line for each file that cannot be used. Reports parts that the model
    does not have as warnings.
    """
    if not paths:
        return []
    backbone = keys.to_diffusers_transformer(read_shapes(files.backbone))
    vace = None if files.vace is None else keys.to_diffusers_vace(read_shapes(files.vace))
    return [read_lora(layout) for layout in check_loras(paths, backbone, vace, files.backbone.name, report)]


def read_lora(layout: LoraLayout) -> Lora:
    """Read the tensors of a checked file. Raises JobError for NaN or infinite values, and if the LoRA has no effect."""
    state = read_checkpoint(layout.path)
    if not state.keys() >= set(layout.weights):
        # `read_checkpoint` has removed a prefix that the header's keys still have.
        state = {f"model.{key}": tensor for key, tensor in state.items()}
    return _lora(layout, state)


def read_builtin_lora(files: ModelFiles, shapes: Mapping[str, torch.Size]) -> Lora | None:
    """Read the pipeline's own LoRA and check it against the backbone's `shapes`; None if the pipeline has none.

    Its factor is always 1.0, as in the reference.
    """
    if files.builtin_lora is None:
        return None
    state = read_checkpoint(files.builtin_lora)
    lora = _lora(builtin_lora_layout(files.builtin_lora, state, shapes, files.backbone.name), state)
    return replace(lora, pairs={module: replace(pair, factor=1.0) for module, pair in lora.pairs.items()})


def builtin_lora_layout(path: Path, header: State, backbone: Mapping[str, torch.Size], model: str) -> LoraLayout:
    """Return the layout of a pipeline's own LoRA. Raises JobError if any part of it does not fit the backbone."""
    layout = lora_layout(path, {key: tuple(tensor.shape) for key, tensor in header.items()}, AlphaRule())
    keys.refuse_integers({key: header[key] for key in layout.weights}, path)
    layout, left_out = fitting(layout, backbone, None, model)
    if left_out:
        raise JobError(
            f"{path}: the pipeline's own LoRA must fit completely, but has parts that do not: {'; '.join(left_out)}"
        )
    return layout


def _lora(layout: LoraLayout, state: State) -> Lora:
    pairs = {module: _pair(layout, pair_keys, state) for module, pair_keys in layout.pairs.items()}
    diffs = {parameter: state[key].float() for parameter, key in layout.diffs.items()}
    for module, pair_keys in layout.pairs.items():
        if pair_keys.bias is not None:
            bias = pairs[module].factor * state[pair_keys.bias].float()
            diffs[f"{module}.bias"] = diffs.get(f"{module}.bias", torch.zeros_like(bias)) + bias
    for tensor in (*diffs.values(), *(half for pair in pairs.values() for half in (pair.a, pair.b))):
        if not tensor.float().isfinite().all():
            raise JobError(f"{layout.path}: holds NaN or Inf")
    effects = (*diffs.values(), *(pair.b for pair in pairs.values() if pair.factor))
    if not any(bool(tensor.float().any()) for tensor in effects):
        raise JobError(f"{layout.path}: every lora_B or alpha is zero, so it would change nothing")
    return Lora(layout.path, pairs, {name: diff for name, diff in diffs.items() if diff.any()})


def _pair(layout: LoraLayout, pair_keys: PairKeys, state: State) -> Pair:
    alpha = None if pair_keys.alpha is None else float(state[pair_keys.alpha].float())
    if alpha is not None and not math.isfinite(alpha):
        raise JobError(f"{layout.path}: {pair_keys.alpha} is {alpha}")
    a, b = state[pair_keys.a], state[pair_keys.b]
    return Pair(a, b, layout.rule.factor(pair_keys.name, a.shape[0], alpha))


Merge = Sequence[tuple[Lora, float]]
"""LoRAs and their scales, in the order in which they are added."""


def merged(key: str, weight: Tensor, merge: Merge, device: torch.device) -> Tensor:
    """Return a weight with the LoRAs added, summed in float32 on `device`.

    If no LoRA with a scale other than 0 changes it, `weight` itself is returned.
    key     of the weight in diffusers' model.
    weight  in the dtype and on the device of the checkpoint.
    """
    active = [(lora, scale) for lora, scale in merge if scale and (key in lora.diffs or _module(key) in lora.pairs)]
    if not active:
        return weight
    total = weight.to(device=device, dtype=torch.float32, copy=True).contiguous()
    for lora, scale in active:
        if (diff := lora.diffs.get(key)) is not None:
            total.add_(diff.to(device), alpha=scale)
        if (pair := lora.pairs.get(_module(key))) is not None:
            a, b = pair.matrices(device)
            total.view(len(total), -1).addmm_(b, a, alpha=scale * pair.factor)
    return total


def _module(key: str) -> str:
    return key.removesuffix(".weight")
