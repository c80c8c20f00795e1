"""Names of the modules that a LoRA file may speak of -> modules of diffusers' Wan transformers. Torch-free.

Trainers write the same module as `diffusion_model.blocks.0.self_attn.q`, `lora_unet_blocks_0_self_attn_q`,
`transformer.blocks.0.attn1.to_q` ... With underscores a name does not say where its parts end, so names are not taken
apart: all that Wan has are listed, and compared with their dots turned into underscores.
"""

from __future__ import annotations

import re

_IN_ATTENTION = {
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "o": "to_out.0",
    "k_img": "add_k_proj",
    "v_img": "add_v_proj",
    "norm_q": "norm_q",
    "norm_k": "norm_k",
    "norm_k_img": "norm_added_k",
}
_IN_BLOCK = {
    **{f"self_attn.{ours}": f"attn1.{theirs}" for ours, theirs in _IN_ATTENTION.items()},
    **{f"cross_attn.{ours}": f"attn2.{theirs}" for ours, theirs in _IN_ATTENTION.items()},
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "norm3": "norm2",
    "modulation": "scale_shift_table",
    "before_proj": "proj_in",
    "after_proj": "proj_out",
}
_OUTSIDE = {
    "patch_embedding": "patch_embedding",
    "vace_patch_embedding": "vace_patch_embedding",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
    "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
}

_PREFIXES = re.compile(
    r"(?:base_model\.model\.|model\.|diffusion_model\.|transformer\.|pipe\.dit\.|lora_unet__?|lora_transformer_|lycoris_)+"
)
_BLOCK = re.compile(r"((?:vace_)?blocks)_(0|[1-9]\d*)_(.+)")


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _by_flat_name(names: dict[str, str]) -> dict[str, str]:
    # A diffusers name never means another module in the original naming: the original's norm2 has no weights.
    return {_flat(theirs): theirs for theirs in names.values()} | {
        _flat(ours): theirs for ours, theirs in names.items()
    }


_FLAT_IN_BLOCK = _by_flat_name(_IN_BLOCK)
_FLAT_OUTSIDE = _by_flat_name(_OUTSIDE)


def diffusers_module(name: str) -> str | None:
    """The module (or, for `modulation`, the parameter) that `name` means, in any naming; None if Wan has none such."""
    flat = _flat(name[found.end() :] if (found := _PREFIXES.match(name)) else name)
    if block := _BLOCK.fullmatch(flat):
        inside = _FLAT_IN_BLOCK.get(block[3])
        return f"{block[1]}.{block[2]}.{inside}" if inside else None
    return _FLAT_OUTSIDE.get(flat)


def is_of_image_to_video(module: str) -> bool:
    """Whether a diffusers module exists only in models that take a first frame through CLIP."""
    return any(part in module for part in ("add_k_proj", "add_v_proj", "norm_added_k", "image_embedder"))


def is_of_vace(module: str) -> bool:
    return module.startswith("vace_")
