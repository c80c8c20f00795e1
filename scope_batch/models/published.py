"""Builds the model files of `models: random`: the published networks by shape, whose numbers are drawn on loading."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scope_batch.core import geometry
from scope_batch.errors import UnavailableError
from scope_batch.files import cache
from scope_batch.models import layout
from scope_batch.models.keys import is_vace
from scope_batch.models.layout import TAES, Artifact, VaeType
from scope_batch.models.shapes_file import SUFFIX, shapes_text
from scope_batch.models.sizes import PUBLISHED, VAES, WAN_1_3B, ModelSizes

_HEAD_DIM = 128
_UMT5_XXL = {
    "vocab_size": 256384,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "relative_attention_num_buckets": 32,
    "feed_forward_proj": "gated-gelu",
}
_UMT5_FP8 = ("SelfAttention.q", "SelfAttention.k", "SelfAttention.v", "SelfAttention.o", "wi_0", "wi_1", "wo")


def build_random_models(folder: Path, pipeline_id: str, *, vae_type: VaeType, vace: bool) -> None:
    """Write what is missing of the pipeline's files into `folder`; a LoRA of its own is left out, as if merged.

    Raises UnavailableError for a tiny auto-encoder, whose published sizes are not known here.
    """
    if vae_type in TAES:
        raise UnavailableError(f"models: random has no vae_type {vae_type}; allowed: {', '.join(VAES)}")
    with cache.lock(folder):
        for artifact in layout.artifacts(pipeline_id, vae_type, vace=vace):
            path = random_file(folder, artifact)
            if artifact.role != "builtin_lora" and not path.exists():
                with cache.writing(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                _write(path, artifact, PUBLISHED.get(pipeline_id, WAN_1_3B))


def random_file(folder: Path, artifact: Artifact) -> Path:
    """Return the path of an artifact: checkpoints have the suffix of files without numbers."""
    path = folder / artifact.local
    return path.with_suffix(SUFFIX) if path.suffix in (".pt", ".pth", ".safetensors") else path


def _write(path: Path, artifact: Artifact, sizes: ModelSizes) -> None:
    if artifact.role == "tokenizer":
        from scope_batch.models.tiny import tokenizer

        tokenizer.save(path)
    elif artifact.role == "config":
        _put(path, json.dumps({"_class_name": "WanModel", "num_heads": sizes.backbone.heads}))
    else:
        builders: dict[str, Callable[[], dict[str, Tensor]]] = {
            "backbone": lambda: _transformer(sizes, vace=False),
            "vace": lambda: _transformer(sizes, vace=True),
            "vae": lambda: _vae(next(width for name, (width, _) in VAES.items() if layout.VAES[name] == artifact)),
            "text_encoder": _text_encoder,
        }
        _put(path, shapes_text(builders[artifact.role]()))


def _put(path: Path, text: str) -> None:
    with cache.writing(path), cache.replacing(path) as file:
        file.write(text.encode())


def _transformer(sizes: ModelSizes, *, vace: bool) -> dict[str, Tensor]:
    """Return the backbone, or the VACE module alone, in diffusers' naming."""
    from diffusers import WanTransformer3DModel, WanVACETransformer3DModel

    backbone = sizes.backbone
    arguments: dict[str, Any] = {
        "num_attention_heads": backbone.heads,
        "attention_head_dim": _HEAD_DIM,
        "ffn_dim": backbone.ffn,
        "num_layers": backbone.layers,
    }
    with torch.device("meta"):
        if not vace:
            model = WanTransformer3DModel(**arguments)
        else:
            layers = list(range(0, backbone.layers, backbone.layers // sizes.vace_blocks))
            model = WanVACETransformer3DModel(**arguments, vace_layers=layers, vace_in_channels=geometry.VACE_CHANNELS)
    return {key: tensor.to(torch.bfloat16) for key, tensor in model.state_dict().items() if is_vace(key) == vace}


def _vae(width: int) -> dict[str, Tensor]:
    from scope_batch.models.vae_shapes import vae_shapes

    return {key: torch.empty(shape, device="meta") for key, shape in vae_shapes(width)}


def _text_encoder() -> dict[str, Tensor]:
    """Return UMT5-XXL in the naming of transformers, with the dtypes of the published file."""
    from transformers import UMT5Config, UMT5EncoderModel

    with torch.device("meta"):
        model = UMT5EncoderModel(UMT5Config(**_UMT5_XXL))

    def dtype(key: str) -> torch.dtype:
        return torch.float8_e4m3fn if key.removesuffix(".weight").endswith(_UMT5_FP8) else torch.bfloat16

    state = model.state_dict()
    del state["encoder.embed_tokens.weight"]  # the same as `shared.weight`
    return {key: tensor.to(dtype(key)) for key, tensor in state.items()}
