"""How much device memory a render takes, from shapes alone: what lasts to the byte, what comes and goes about right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scope_batch.core import geometry
from scope_batch.core.device_memory import DeviceMemory
from scope_batch.core.plan import Chunk, Plan
from scope_batch.pipelines.spec import PipelineSpec
from scope_batch.plan.forecast import transformer as transformer
from scope_batch.plan.forecast import vae as vae

if TYPE_CHECKING:
    from scope_batch.models.sizes import ModelSizes

_FLOAT_BYTES = 4
_GRAY_LATENTS = 30
"""Latents of gray that are kept for VACE, at most."""


@dataclass(frozen=True, slots=True)
class Precision:
    """Bytes of one number of the backbone and of the VAE. fp8: the backbone's linear layers hold one byte each."""

    backbone: int = 2
    vae: int = 2
    fp8: bool = False


def precision_of(dtype: str, vae_dtype: str, quantization: str | None = None) -> Precision:
    """As `--dtype`, `vae_dtype` and `quantization` say; "auto" is bfloat16, and the VAE's that of the backbone."""
    backbone = _FLOAT_BYTES if dtype == "float32" else 2
    vae_bytes = backbone if vae_dtype == "auto" else _FLOAT_BYTES if vae_dtype == "float32" else 2
    return Precision(backbone, vae_bytes, fp8=quantization is not None)


def device_memory(plan: Plan, spec: PipelineSpec, sizes: ModelSizes, precision: Precision) -> DeviceMemory:
    backbone, tokens = sizes.backbone, geometry.tokens_per_latent(plan.height, plan.width)
    number = precision.backbone
    weights = transformer.weight_bytes(backbone, number, fp8=precision.fp8)
    vae_weights = vae.weight_bytes(sizes.vae_width, precision.vae)
    return DeviceMemory(
        weights=weights + vae_weights,
        branches=sizes.branches.numbers * number + sizes.branches.moved * (number + _FLOAT_BYTES),
        kv_cache=transformer.kv_cache_bytes(backbone, _cached_latents(plan, spec) * tokens, number),
        text_cache=transformer.text_cache_bytes(backbone, number, vace=_controlled(plan)),
        conditioning=transformer.conditioning_bytes(backbone, len(_timesteps(plan)), number),
        history=_history_latents(spec) * _latent_bytes(plan),
        vae_streams=_stream_bytes(plan, sizes.vae_width, precision.vae) + _sight_bytes(plan, spec, precision),
        transient=_transient(plan, spec, sizes, precision),
        prompts=weights + vae_weights + transformer.text_encoder_bytes(sizes.text_encoder),
        offloadable=transformer.offloadable_bytes(backbone, number),
        read=sizes.read,
    )


def _cached_latents(plan: Plan, spec: PipelineSpec) -> int:
    return spec.window + (geometry.BANK_SLOTS if plan.memory_bank else 0)


def _controlled(plan: Plan) -> bool:
    """VACE's blocks run in some chunk, and keep the prompt's keys and values."""
    return any(chunk.vace is not None and chunk.vace.scale > 0 for chunk in plan.chunks)


def _timesteps(plan: Plan) -> set[int]:
    """All that the session embeds and keeps; those of a noise controller move, and count once."""
    return {0} | {step for chunk in plan.chunks for step in _steps(chunk)}


def _steps(chunk: Chunk) -> tuple[int, ...]:
    if chunk.mode == "text" or chunk.noise_scale is None:
        return chunk.denoising_steps
    return (geometry.first_video_step(chunk.noise_scale), *chunk.denoising_steps[1:])


def _history_latents(spec: PipelineSpec) -> int:
    """Of a context the first latent frame is one of the frames in sight."""
    return geometry.CONTEXT_LATENTS - 1 if spec.memory == "context" else spec.window


def _sight_bytes(plan: Plan, spec: PipelineSpec, precision: Precision) -> int:
    """The frames in sight, before rounding, and the statistics of the stream that encodes one of them."""
    if spec.memory != "context":
        return 0
    frames = geometry.RECENT_FRAMES * 3 * plan.height * plan.width
    return (frames + 2 * geometry.LATENT_CHANNELS) * precision.vae


def _latent_bytes(plan: Plan) -> int:
    """Of one latent frame, float32."""
    cells = (plan.height // geometry.SPACE_STRIDE) * (plan.width // geometry.SPACE_STRIDE)
    return geometry.LATENT_CHANNELS * cells * _FLOAT_BYTES


def _stream_bytes(plan: Plan, width: int, number_bytes: int) -> int:
    """The decoder, and an encoder for the input video; for VACE one each of gray, replaced and kept pixels.

    Kept pixels have none of their own where every mask is 1, as where there are none.
    """
    decoder = vae.decoder_stream_bytes(width, plan.height, plan.width, number_bytes)
    encoders = int(any(chunk.mode == "video" for chunk in plan.chunks))
    if any(chunk.vace is not None and chunk.vace.has_frames for chunk in plan.chunks):
        encoders += 2 + _masked(plan)
    streams = decoder + encoders * vae.encoder_stream_bytes(width, plan.height, plan.width, number_bytes)
    return streams + vae.statistics_bytes(number_bytes)


def _masked(plan: Plan) -> bool:
    stills = any(chunk.vace is not None and chunk.vace.stills for chunk in plan.chunks)
    return stills or any(placement.material.kind == "masks" for placement in plan.placements)


def _transient(plan: Plan, spec: PipelineSpec, sizes: ModelSizes, precision: Precision) -> int:
    """The largest of the stages of the largest chunk."""
    tokens = geometry.tokens_per_latent(plan.height, plan.width)
    latents = max(chunk.latents for chunk in plan.chunks)
    at_once = spec.window if any(chunk.recache for chunk in plan.chunks) else latents
    stages = [
        transformer.pass_bytes(sizes.backbone, at_once * tokens, precision.backbone, vace=_controlled(plan)),
        vae.decode_peak_bytes(sizes.vae_width, plan.height, plan.width, precision.vae) + _frame_bytes(plan, precision),
    ]
    if any(chunk.mode == "video" or chunk.vace is not None for chunk in plan.chunks):
        stages.append(vae.encode_peak_bytes(sizes.vae_width, plan.height, plan.width, precision.vae))
    gray = _GRAY_LATENTS if any(chunk.vace is not None for chunk in plan.chunks) else 0
    steps = max(len(chunk.denoising_steps) for chunk in plan.chunks)
    return max(stages) + (steps * latents + gray) * _latent_bytes(plan)


def _frame_bytes(plan: Plan, precision: Precision) -> int:
    """A chunk's frames as they are delivered, and the last group of them as the VAE made it."""
    numbers = 3 * plan.height * plan.width
    return max(chunk.frames for chunk in plan.chunks) * numbers + geometry.TIME_STRIDE * numbers * precision.vae
