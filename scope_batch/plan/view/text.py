"""Words for the values of a chunk: prompt shares, numbers and VACE sources as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from scope_batch.core import geometry
from scope_batch.core.plan import Chunk, Conditioning, Plan, Prompt, Transition
from scope_batch.core.timeline import Coverage, Kind

INVISIBLE = 0.001
"""Shares below this are left out, or interrupted transitions would drag every earlier prompt along."""


class Shares:
    """Asked chunk by chunk, in order; interrupted transitions need what was in force before them."""

    def __init__(self) -> None:
        self._last: tuple[Conditioning, tuple[Prompt, ...]] | None = None
        self._source: tuple[Conditioning, tuple[Prompt, ...]] | None = None

    def __call__(self, conditioning: Conditioning) -> tuple[Prompt, ...]:
        """Texts and their shares, which sum to 1; of a transition both sides, weighted by its t."""
        if self._last is None or self._last[0] is not conditioning:
            self._last = conditioning, self._of(conditioning)
        return self._last[1]

    def _of(self, conditioning: Conditioning) -> tuple[Prompt, ...]:
        if not isinstance(conditioning, Transition):
            return conditioning.prompts
        if self._source is None or self._source[0] is not conditioning.source:
            self._source = conditioning.source, self(conditioning.source)
        return _mixed(self._source[1], conditioning.target.prompts, conditioning.t)


def _mixed(source: Iterable[Prompt], target: Iterable[Prompt], t: float) -> tuple[Prompt, ...]:
    totals: dict[str, float] = {}
    for prompts, share in ((source, 1 - t), (target, t)):
        for prompt in prompts:
            totals[prompt.text] = totals.get(prompt.text, 0.0) + share * prompt.weight
    visible = {text: weight for text, weight in totals.items() if weight >= INVISIBLE}
    total = sum(visible.values())
    return tuple(Prompt(text, weight / total) for text, weight in visible.items())


def shares_of(chunks: Iterable[Chunk]) -> list[tuple[Prompt, ...]]:
    """Per chunk, in the plan's order."""
    shares = Shares()
    return [shares(chunk.conditioning) for chunk in chunks]


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


def sources_of(plan: Plan) -> list[tuple[str, ...]]:
    """Per chunk: "control", "mask", "first image", "last image", "reference", as far as they are there."""
    control, masks = (_coverage(plan, kind) for kind in ("frames", "masks"))
    return [tuple(_sources(chunk, control, masks)) for chunk in plan.chunks]


def _coverage(plan: Plan, kind: Kind) -> Coverage:
    return Coverage((lies.first_frame, lies.end_frame) for lies in plan.placements if lies.material.kind == kind)


def _sources(chunk: Chunk, control: Coverage, masks: Coverage) -> Iterable[str]:
    span = chunk.first_frame, chunk.last_frame + 1
    covered = control.covers(*span), masks.covers(*span)
    if chunk.vace is None:
        return
    yield from (name for name, there in zip(("control", "mask"), covered, strict=True) if there)
    yield from (still.name for still in chunk.vace.stills)
    if chunk.vace.reference is not None:
        yield "reference"
