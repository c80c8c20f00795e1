"""Values of a chunk in the form in which people read them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from scope_batch.core import geometry
from scope_batch.core.plan import Chunk, Prompt


def rate(fps: Fraction) -> str:
    """Frames per second: 16, 29.97."""
    return f"{float(fps):.6g}"


def clock(seconds: float) -> str:
    """ "0:03.75", from hundredths up."""
    minutes, rest = divmod(round(seconds * 100), 6000)
    return f"{minutes}:{rest // 100:02}.{rest % 100:02}"


def noise_scale(chunk: Chunk) -> str:
    """ "0.70", "controller 0.61-0.79" (moving to still), or nothing in text mode."""
    if chunk.noise_scale is None:
        return ""
    if not chunk.noise_controller:
        return f"{chunk.noise_scale:.2f}"
    moving, still = (geometry.controlled_noise_scale(motion, chunk.noise_scale) for motion in (1.0, 0.0))
    return f"controller {moving:.2f}-{still:.2f}"


def attention_bias(chunk: Chunk) -> str:
    """ "0.30", or nothing where the pipeline has no such weight."""
    return "" if chunk.attention_bias is None else f"{chunk.attention_bias:.2f}"


def steps(chunk: Chunk) -> str:
    """The timesteps that really run, "600 750": video mode replaces the first one by what the noise scale asks for."""
    rest = " ".join(map(str, chunk.denoising_steps[1:]))
    return f"{_first_step(chunk)} {rest}".rstrip()


def _first_step(chunk: Chunk) -> str:
    if chunk.noise_scale is None:
        return str(chunk.denoising_steps[0])
    if not chunk.noise_controller:
        return str(geometry.first_video_step(chunk.noise_scale))
    moving, still = (geometry.controlled_noise_scale(motion, chunk.noise_scale) for motion in (1.0, 0.0))
    return f"{geometry.first_video_step(moving)}-{geometry.first_video_step(still)}"


def prompt(shares: Sequence[Prompt]) -> str:
    """ "a cat", or "30% a cat + 70% a tiger"."""
    if len(shares) == 1:
        return shares[0].text
    return " + ".join(f"{share.weight:.0%} {share.text}" for share in shares)


def event(chunk: Chunk) -> str:
    """ "cut: reset_cache", "recache: prompt change", "new prompt", or nothing."""
    if chunk.cut_reason is not None:
        return "start" if chunk.index == 0 else f"cut: {chunk.cut_reason}"
    if chunk.recache_reason is not None:
        return f"recache: {chunk.recache_reason}"
    return "new prompt" if chunk.text_changed else ""
