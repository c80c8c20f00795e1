"""Forecasts the device memory of a render: weights from the shapes of the model files, caches by formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scope_batch.core import geometry
from scope_batch.core.device_memory import DeviceMemory
from scope_batch.core.plan import Chunk, Plan
from scope_batch.pipelines.spec import PipelineSpec
from scope_batch.plan.forecast import vae

if TYPE_CHECKING:
    from scope_batch.models.sizes import Backbone, ModelSizes

_FLOAT_BYTES = 4
_GRAY_LATENTS = 30
"""Maximum of gray latent frames that VACE keeps."""
_TEXT_WIDTH = 4096
"""Width of UMT5-XXL's embeddings."""
_MODULATIONS = 6
_OFFLOAD_SLOTS = 2
"""Blocks that `--low-vram` has on the device: the one that computes, and the next one."""
_VAE_STREAMS = 6
"""Input, output, and four of VACE: gray, kept and replaced pixels, references. Most of them never see a frame."""


@dataclass(frozen=True, slots=True)
class Precision:
    """Bytes of one number of the backbone and of the VAE.

    fp8      the backbone's linear layers hold one byte each.
    kernels  the program's own CUDA kernels run; see `EngineRequest.kernels`.
    """

    backbone: int = 2
    vae: int = 2
    fp8: bool = False
    kernels: bool = True


def precision_of(dtype: str, vae_dtype: str, *, fp8: bool = False, kernels: bool = True) -> Precision:
    """Return the precision for these options; "auto" is bfloat16, and for the VAE the backbone's dtype."""
    backbone = _FLOAT_BYTES if dtype == "float32" else 2
    vae_bytes = backbone if vae_dtype == "auto" else _FLOAT_BYTES if vae_dtype == "float32" else 2
    return Precision(backbone, vae_bytes, fp8=fp8, kernels=kernels)


def device_memory(plan: Plan, spec: PipelineSpec, sizes: ModelSizes, precision: Precision) -> DeviceMemory:
    backbone, number = sizes.backbone, precision.backbone
    networks = (
        backbone.weights.stored_bytes(number, fp8=precision.fp8),
        sizes.vace.stored_bytes(number, fp8=precision.fp8),
    )
    rotary = 2 * geometry.ROPE_TABLE_LATENTS * (backbone.width // backbone.heads) * _FLOAT_BYTES
    weights = sum(networks) + rotary + sizes.vae_numbers * precision.vae
    key_value = 2 * backbone.width * number  # bytes of one token in one layer
    window_tokens = spec.window + (geometry.BANK_SLOTS if plan.memory_bank else 0)
    window_tokens *= geometry.tokens_per_latent(plan.height, plan.width)
    text_layers = backbone.layers + (sizes.vace_blocks if _runs_vace(plan) else 0)
    embeddings = len(_timesteps(plan)) * (1 + _MODULATIONS) * backbone.width * number
    # The first latent frame of a context is encoded from the recent frames.
    history_latents = geometry.CONTEXT_LATENTS - 1 if spec.memory == "context" else spec.window
    offloaded = max(backbone.layers - _OFFLOAD_SLOTS, 0) + max(sizes.vace_blocks - _OFFLOAD_SLOTS, 0)
    return DeviceMemory(
        weights=weights,
        branches=sizes.branches.numbers * number + sizes.branches.moved * (number + _FLOAT_BYTES),
        kv_cache=backbone.layers * window_tokens * key_value,
        text_cache=text_layers * geometry.TEXT_TOKENS * key_value,
        conditioning=geometry.TEXT_TOKENS * _TEXT_WIDTH * _FLOAT_BYTES + embeddings,
        history=history_latents * _latent_bytes(plan),
        vae_streams=_stream_bytes(plan, spec, sizes.vae_width, precision.vae),
        kernels=_kernel_bytes(plan, sizes, precision) if precision.kernels else 0,
        transient=_working_bytes(plan, spec, sizes, precision),
        prompts=weights + sizes.text_encoder_bytes,
        offloadable=offloaded * backbone.block.stored_bytes(number),
        read=sizes.read,
    )


def _runs_vace(plan: Plan) -> bool:
    """Return True if VACE's blocks run in some chunk; they then keep the prompt's keys and values."""
    return any(chunk.vace is not None and chunk.vace.scale > 0 for chunk in plan.chunks)


def _timesteps(plan: Plan) -> set[int]:
    """Return all timesteps whose embeddings the session keeps. Those of a noise controller vary, and count once."""

    def steps(chunk: Chunk) -> tuple[int, ...]:
        if chunk.mode == "text" or chunk.noise_scale is None:
            return chunk.denoising_steps
        return (geometry.first_video_step(chunk.noise_scale), *chunk.denoising_steps[1:])

    return {0} | {step for chunk in plan.chunks for step in steps(chunk)}


def _latent_bytes(plan: Plan) -> int:
    """Return the bytes of one latent frame in float32."""
    cells = (plan.height // geometry.SPACE_STRIDE) * (plan.width // geometry.SPACE_STRIDE)
    return geometry.LATENT_CHANNELS * cells * _FLOAT_BYTES


def _stream_bytes(plan: Plan, spec: PipelineSpec, width: int, number_bytes: int) -> int:
    """Return the bytes of the decoder, an encoder for the input video, and VACE's for gray, replaced and kept pixels.

    Kept pixels have no encoder of their own if every mask is 1.
    """
    encoders = int(any(chunk.mode == "video" for chunk in plan.chunks))
    if any(chunk.vace is not None and chunk.vace.has_frames for chunk in plan.chunks):
        stills = any(chunk.vace is not None and chunk.vace.stills for chunk in plan.chunks)
        masked = stills or any(placement.source.kind == "masks" for placement in plan.placements)
        encoders += 2 + masked
    context = spec.memory == "context"  # has an encoder of its own, and keeps frames before rounding
    statistics = (_VAE_STREAMS + context) * 2 * geometry.LATENT_CHANNELS  # mean and deviation of each channel
    recent = geometry.RECENT_FRAMES * 3 * plan.height * plan.width if context else 0
    return (
        vae.decoder_cache_bytes(width, plan.height, plan.width, number_bytes)
        + encoders * vae.encoder_cache_bytes(width, plan.height, plan.width, number_bytes)
        + (statistics + recent) * number_bytes
    )


def _kernel_bytes(plan: Plan, sizes: ModelSizes, precision: Precision) -> int:
    """Return the bytes of the VAE's rearranged weights, of its taps, and of a chunk's pass in CUDA graphs."""
    tokens = max(chunk.latents for chunk in plan.chunks) * geometry.tokens_per_latent(plan.height, plan.width)
    return (
        sizes.vae_numbers * precision.vae
        + vae.taps_bytes(sizes.vae_width, plan.height, plan.width, precision.vae)
        + _pass_bytes(sizes.backbone, tokens, precision.backbone, vace=False)
    )


def _working_bytes(plan: Plan, spec: PipelineSpec, sizes: ModelSizes, precision: Precision) -> int:
    """Return the bytes of the largest step of the largest chunk."""
    frame_numbers = 3 * plan.height * plan.width
    latents = max(chunk.latents for chunk in plan.chunks)
    at_once = spec.window if any(chunk.recache for chunk in plan.chunks) else latents
    tokens = at_once * geometry.tokens_per_latent(plan.height, plan.width)
    # A chunk's frames as uint8, and the last group of them in the VAE's dtype.
    frames = max(chunk.frames for chunk in plan.chunks) + geometry.TIME_STRIDE * precision.vae
    decode, encode = vae.decode_peak_bytes, vae.encode_peak_bytes
    if precision.kernels:
        decode, encode = vae.fused_decode_peak_bytes, vae.fused_encode_peak_bytes
    steps = [
        _pass_bytes(sizes.backbone, tokens, precision.backbone, vace=_runs_vace(plan)),
        decode(sizes.vae_width, plan.height, plan.width, precision.vae) + frames * frame_numbers,
    ]
    if any(chunk.mode == "video" or chunk.vace is not None for chunk in plan.chunks):
        steps.append(encode(sizes.vae_width, plan.height, plan.width, precision.vae))
    gray = _GRAY_LATENTS if any(chunk.vace is not None for chunk in plan.chunks) else 0
    noises = max(len(chunk.denoising_steps) for chunk in plan.chunks)
    return max(steps) + (noises * latents + gray) * _latent_bytes(plan)


def _pass_bytes(backbone: Backbone, tokens: int, number_bytes: int, *, vace: bool) -> int:
    """Estimate the peak of one forward pass over `tokens`: in a feed-forward, an attention, or around a norm."""
    hidden = tokens * backbone.width
    feed_forward = 2 * tokens * backbone.ffn * number_bytes + 3 * hidden * number_bytes
    attention = hidden * (6 * number_bytes + _FLOAT_BYTES)  # a query is rotated in float32, half by half
    norms = hidden * (4 * number_bytes + 3 * _FLOAT_BYTES)
    control = 4 * hidden * number_bytes if vace else 0
    rotary = tokens * (backbone.width // backbone.heads) * _FLOAT_BYTES
    return max(feed_forward, attention, norms) + control + rotary
