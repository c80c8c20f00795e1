"""What Wan's transformer holds on the device: weights and caches to the byte, and about what a pass needs besides.

`number_bytes` = bytes of one number in the backbone's dtype. Norms of blocks, tables of modulation and the embedding of
time stay float32, as diffusers keeps them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scope_batch.core import geometry

if TYPE_CHECKING:
    from scope_batch.models.sizes import Backbone, TextEncoder

_FLOAT_BYTES = 4
_PATCH_NUMBERS = geometry.LATENT_CHANNELS * geometry.PATCH**2
_MODULATIONS = 6
SLOT_ALIGNMENT_BYTES = 256
"""Where a weight may begin in the memory that `--low-vram` copies blocks to."""
SLOTS = 2
"""Blocks that `--low-vram` has on the device: the one that computes, and the one that comes next."""


def weight_bytes(backbone: Backbone, number_bytes: int, *, fp8: bool = False) -> int:
    """Of backbone and VACE module. fp8: every linear layer's matrix has one byte per number, and a scale."""
    width = backbone.width
    rotary = 2 * geometry.ROPE_TABLE_LATENTS * (width // backbone.heads) * _FLOAT_BYTES
    patches = _linear(_PATCH_NUMBERS, width)
    text = _linear(backbone.text_width, width) + _linear(width, width)
    time = _linear(backbone.time_width, width) + _linear(width, width)
    numbers = patches + text + _linear(width, _MODULATIONS * width) + _linear(width, _PATCH_NUMBERS)
    exact = time + 2 * width
    blocks = backbone.layers * block_bytes(backbone, number_bytes)
    return (
        rotary
        + numbers * number_bytes
        + exact * _FLOAT_BYTES
        + blocks
        + _vace_bytes(backbone, number_bytes)
        - (_saved(backbone, number_bytes) if fp8 else 0)
    )


def block_bytes(backbone: Backbone, number_bytes: int) -> int:
    width, ffn = backbone.width, backbone.ffn
    numbers = 8 * _linear(width, width) + 4 * width + _linear(width, ffn) + _linear(ffn, width)
    return numbers * number_bytes + (2 + _MODULATIONS) * width * _FLOAT_BYTES


def _vace_bytes(backbone: Backbone, number_bytes: int) -> int:
    if not backbone.vace_blocks:
        return 0
    width = backbone.width
    numbers = _linear(geometry.VACE_CHANNELS * geometry.PATCH**2, width) + (backbone.vace_blocks + 1) * _linear(
        width, width
    )
    return numbers * number_bytes + backbone.vace_blocks * block_bytes(backbone, number_bytes)


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _saved(backbone: Backbone, number_bytes: int) -> int:
    """What fp8 takes off: all but one byte of every number in a linear layer's matrix, less a float32 scale each."""
    width = backbone.width
    blocks = backbone.layers + backbone.vace_blocks
    matrices = blocks * (8 * width * width + 2 * width * backbone.ffn) + (
        backbone.vace_blocks + 1
    ) * width * width * bool(backbone.vace_blocks)
    once = (backbone.text_width + width) * width + _MODULATIONS * width * width + _PATCH_NUMBERS * width
    layers = 10 * blocks + 4 + (backbone.vace_blocks + 1) * bool(backbone.vace_blocks)
    return (matrices + once) * (number_bytes - 1) - layers * _FLOAT_BYTES


def kv_cache_bytes(backbone: Backbone, tokens: int, number_bytes: int) -> int:
    return 2 * backbone.layers * tokens * backbone.width * number_bytes


def text_cache_bytes(backbone: Backbone, number_bytes: int, *, vace: bool) -> int:
    layers = backbone.layers + (backbone.vace_blocks if vace else 0)
    return 2 * layers * geometry.TEXT_TOKENS * backbone.width * number_bytes


def conditioning_bytes(backbone: Backbone, timesteps: int, number_bytes: int) -> int:
    """The prompt's embedding in float32, and for every timestep its embedding and modulation."""
    prompt = geometry.TEXT_TOKENS * backbone.text_width * _FLOAT_BYTES
    return prompt + timesteps * (1 + _MODULATIONS) * backbone.width * number_bytes


def offloadable_bytes(backbone: Backbone, number_bytes: int) -> int:
    """All blocks of the backbone, less the two that are on the device at a time; of VACE's the same."""
    kept = max(backbone.layers - SLOTS, 0) + max(backbone.vace_blocks - SLOTS, 0)
    return kept * block_bytes(backbone, number_bytes)


def pass_bytes(backbone: Backbone, tokens: int, number_bytes: int, *, vace: bool) -> int:
    """About the most that one pass over `tokens` needs: in a feed-forward, an attention, or around a norm."""
    width = backbone.width
    hidden = tokens * width
    wide = 2 * tokens * backbone.ffn * number_bytes
    feed_forward = wide + hidden * (3 * number_bytes)
    attention = hidden * (6 * number_bytes + _FLOAT_BYTES)  # a query is rotated in float32, half by half
    norms = hidden * (4 * number_bytes + 3 * _FLOAT_BYTES)
    control = 4 * hidden * number_bytes if vace else 0
    rotary = tokens * (width // backbone.heads) * _FLOAT_BYTES
    return max(feed_forward, attention, norms) + control + rotary


def text_encoder_bytes(encoder: TextEncoder) -> int:
    """On a GPU, where matrices stay fp8 as the published file has them, but for one of each feed-forward."""
    width = encoder.width
    kept_fp8 = encoder.layers * (4 * width * encoder.inner + 2 * width * encoder.ffn)
    in_bfloat16 = encoder.vocabulary * width + encoder.layers * width * encoder.ffn
    return kept_fp8 + 2 * in_bfloat16
