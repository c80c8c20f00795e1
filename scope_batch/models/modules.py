"""Loads checkpoints into modules of diffusers and transformers on the device, and checks every parameter.

A model is first built on `meta` from the shapes in the file's header, so that a file that does not fit is refused
before its weights are read. Then each tensor is cast, moved and assigned in turn, so that the host holds at most one
copy. Everything runs under `no_grad`, not in inference mode, where adapters and caches could not be changed later.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from diffusers.hooks.layerwise_casting import apply_layerwise_casting_hook
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed
from torch import Tensor, nn

from scope_batch.errors import JobError, ScopeBatchError
from scope_batch.events import Loading, Report, Warned, silent
from scope_batch.models import architecture, keys, shapes_file
from scope_batch.models.checkpoint import State, read_checkpoint, read_header
from scope_batch.models.folder import ModelFiles
from scope_batch.models.keys import is_vace
from scope_batch.models.layout import TAES, VaeType
from scope_batch.models.lora.adapters import BUILTIN_ADAPTER, attach
from scope_batch.models.lora.weights import Merge, merged, read_builtin_lora
from scope_batch.models.tae import TinyAutoencoder, fitted

W = TypeVar("W", bound=WanTransformer3DModel | WanVACETransformer3DModel)
BuiltinLora = Literal["merged", "adapter", "none"]

FLOAT32_BELOW_BYTES = 2 << 30
"""A text encoder that takes less memory than this in float32 runs in float32."""

_FP8 = torch.float8_e4m3fn
_BLOCKS = ("blocks.", "vace_blocks.")
_TIED = frozenset({"encoder.embed_tokens.weight"})


@torch.no_grad()
def load_transformer(
    files: ModelFiles,
    *,
    kind: type[W],
    dtype: torch.dtype,
    device: torch.device,
    builtin_lora: BuiltinLora = "merged",
    blocks_on: torch.device | None = None,
    merge: Merge = (),
    report: Report = silent,
) -> W:
    """Load the backbone with the pipeline's own LoRA, in `dtype`, except the parts that diffusers keeps in float32.

    kind          `WanTransformer3DModel` or a subclass; with `files.vace` one of `WanVACETransformer3DModel`.
    builtin_lora  "merged": W + B A is computed in float32 and rounded once; "adapter": a PEFT side branch named
                  `builtin`; "none": it is not loaded.
    blocks_on     device that the blocks' weights are moved to in the end; None: `device`, where all are computed.
    merge         LoRAs of the job to add to the weights in the same sum, after the pipeline's own.
    Raises JobError for a file that does not fit.
    """
    report(Loading("transformer"))
    model, shapes = empty_transformer(files.backbone, files.config, files.vace, kind=kind, report=report)
    builtin = read_builtin_lora(files, shapes) if builtin_lora != "none" else None
    vace = _read_vace(files.vace, device) if files.vace else {}
    state = keys.to_diffusers_transformer(_read(files.backbone, device)) | vace
    _refuse_zero(state, "patch_embedding.weight", files.backbone)

    if builtin and builtin_lora == "merged":
        merge = ((builtin, 1.0), *merge)
    for key in list(model.state_dict()):
        target = torch.float32 if _kept_in_float32(model, key) else dtype
        final_device = blocks_on if blocks_on is not None and key.startswith(_BLOCKS) else device
        state[key] = _place(merged(key, state[key], merge, device), target, device).to(final_device)
    _assign(model, state)
    # The rotary tables are not in the state dict, so they are still on meta.
    config: Any = model.config
    model.rope = WanRotaryPosEmbed(config.attention_head_dim, config.patch_size, config.rope_max_seq_len)
    model.rope.to(device)
    if builtin and builtin_lora == "adapter":
        attach(model, builtin, BUILTIN_ADAPTER)
    return cast(W, _ready(model))


@torch.no_grad()
def load_vae(
    files: ModelFiles, *, dtype: torch.dtype, device: torch.device, report: Report = silent
) -> AutoencoderKLWan | TinyAutoencoder:
    """Load the VAE of `files.vae_type`, of any width. Raises JobError for a file that does not fit."""
    report(Loading("VAE"))
    model = empty_vae(files.vae, files.vae_type, report)
    checkpoint = _read(files.vae, device)
    state = fitted(checkpoint) if files.vae_type in TAES else keys.to_diffusers_vae(checkpoint)
    for key in list(model.state_dict()):
        state[key] = _place(state[key], dtype, device)
    _assign(model, state)
    return _ready(model)


@torch.no_grad()
def load_text_encoder(
    files: ModelFiles, *, device: torch.device, dtype: torch.dtype | None = None, report: Report = silent
) -> Any:
    """Load the UMT5 encoder (`transformers.UMT5EncoderModel`). Raises JobError for a file that does not fit.

    dtype  of the computation; None: float32 if the model is smaller than `FLOAT32_BELOW_BYTES`, else bfloat16.
    On CUDA, matrices that the file has in fp8 stay in fp8 and are cast layer by layer when they are used.
    """
    report(Loading("text encoder"))
    model, shapes = empty_text_encoder(files.text_encoder, report)
    compute = dtype or _text_dtype(shapes)
    state = keys.to_umt5(_read(files.text_encoder, device))
    fp8 = {key for key, tensor in state.items() if _may_stay_fp8(key, tensor, device)}
    for key in list(state):
        state[key] = _place(state[key], _FP8 if key in fp8 else compute, device)
    state |= dict.fromkeys(_TIED, state["shared.weight"])
    _assign(model, state)
    model.tie_weights()
    for key in fp8:
        apply_layerwise_casting_hook(model.get_submodule(key.removesuffix(".weight")), _FP8, compute, False)
    return _ready(model)


def empty_transformer(
    backbone: Path, config: Path, vace: Path | None, *, kind: type[W], report: Report = silent
) -> tuple[W, dict[str, torch.Size]]:
    """Build the model on `meta` from the files' headers. Also returns the backbone's shapes by diffusers key.

    Raises MissingInputError, or JobError for a file that does not fit.
    """
    header = keys.to_diffusers_transformer(read_header(backbone))
    shapes = _shapes(header)
    arguments = architecture.transformer_config(shapes, backbone, config)
    vace_header = keys.to_diffusers_vace(read_header(vace)) if vace else {}
    if vace:
        arguments |= architecture.vace_config(_shapes(vace_header), arguments["num_layers"], vace)
    model = _empty(kind, **arguments)
    names = model.state_dict().keys()
    _account(header, model, backbone, "Wan backbone", report, without={n for n in names if is_vace(n)})
    if vace:
        _account(vace_header, model, vace, "Wan VACE module", report, without={n for n in names if not is_vace(n)})
    return model, shapes


def empty_vae(path: Path, vae_type: VaeType, report: Report = silent) -> AutoencoderKLWan | TinyAutoencoder:
    """Build the VAE on `meta` from the file's header. Raises as `empty_transformer`."""
    model: AutoencoderKLWan | TinyAutoencoder
    if vae_type in TAES:
        what, header = "tiny auto-encoder", fitted(read_header(path))
        model = _empty(TinyAutoencoder, architecture.tae_config(_shapes(header), path))
    else:
        what, header = "Wan VAE", keys.to_diffusers_vae(read_header(path))
        model = _empty(AutoencoderKLWan, **architecture.vae_config(_shapes(header), path))
    _account(header, model, path, what, report)
    return model


def empty_text_encoder(path: Path, report: Report = silent) -> tuple[Any, dict[str, torch.Size]]:
    """Build the text encoder on `meta`. Also returns the file's shapes by key. Raises as `empty_transformer`."""
    from transformers import UMT5Config, UMT5EncoderModel

    header = keys.to_umt5(read_header(path))
    shapes = _shapes(header)
    model = _empty(UMT5EncoderModel, UMT5Config(**architecture.text_encoder_config(shapes, path)))
    _account(header, model, path, "UMT5 text encoder", report, without=_TIED)
    return model, shapes


def load_tokenizer(files: ModelFiles) -> Any:
    """Load the UMT5 tokenizer from its folder, without the network. Raises JobError if it cannot be read."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(files.tokenizer), local_files_only=True)
    except ScopeBatchError:  # a signal
        raise
    except Exception as error:  # the library below raises no narrower class
        raise JobError(f"{files.tokenizer}: not a readable tokenizer folder ({type(error).__name__})") from error


def _empty(model: type[nn.Module], *args: Any, **kwargs: Any) -> Any:
    with torch.device("meta"):
        return model(*args, **kwargs)


def _shapes(header: State) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in header.items()}


def _account(
    found: State,
    model: nn.Module,
    path: Path,
    what: str,
    report: Report,
    without: Collection[str] = (),
) -> None:
    expected = {key: tensor.shape for key, tensor in model.state_dict().items() if key not in without}
    for warning in keys.account(found, expected, path, what):
        report(Warned(warning))


def _read(path: Path, device: torch.device, containing: str = "") -> State:
    """Read a checkpoint; a file of shapes alone is filled with random numbers on `device`."""
    if path.suffix == shapes_file.SUFFIX:
        return shapes_file.draw(path, device)
    return read_checkpoint(path, containing)


def _read_vace(path: Path, device: torch.device) -> State:
    state = keys.to_diffusers_vace(_read(path, device, "vace_"))
    _refuse_zero(state, "vace_patch_embedding.weight", path)
    return state


def _refuse_zero(state: State, key: str, path: Path) -> None:
    if not state[key].float().any():
        raise JobError(f"{path}: {key} is all zeros: the file was never filled")


def _kept_in_float32(model: Any, key: str) -> bool:
    """Return True for parameters that must stay float32; `.to(bfloat16)` would cast them and only log it."""
    return any(part in key.split(".") for part in model._keep_in_fp32_modules)


def _place(tensor: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Moved before the cast: the file's dtype is smaller to copy, and the device casts faster.
    return tensor.to(device).to(dtype)


def _assign(model: nn.Module, state: State) -> None:
    expected = set(model.state_dict())
    model.load_state_dict({key: tensor for key, tensor in state.items() if key in expected}, strict=True, assign=True)


def _may_stay_fp8(key: str, tensor: Tensor, device: torch.device) -> bool:
    return device.type == "cuda" and _is_castable_fp8(key, tensor)


def _is_castable_fp8(key: str, tensor: Tensor) -> bool:
    # transformers casts the input of `wo` to the dtype of its weight before the layer's hook casts the weight, so an
    # fp8 `wo` would round the activations to fp8.
    return tensor.dtype == _FP8 and not key.endswith(".wo.weight")


def _text_dtype(shapes: Mapping[str, torch.Size]) -> torch.dtype:
    float32_bytes = 4 * sum(shape.numel() for shape in shapes.values())
    return torch.float32 if float32_bytes < FLOAT32_BELOW_BYTES else torch.bfloat16


def _ready(model: Any) -> Any:
    model.eval().requires_grad_(False)
    tensors = [*model.named_parameters(), *model.named_buffers()]
    on_meta = [name for name, tensor in tensors if tensor.is_meta]
    assert not on_meta, f"still on meta: {on_meta[:5]}"
    return model
