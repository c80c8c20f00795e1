"""Formats the values of a chunk for people: prompt shares, numbers and VACE sources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from scope_batch.core import geometry
from scope_batch.core.conditioning import Blend, ConditioningValues, Prompt, Transition
from scope_batch.core.plan import Chunk, Plan
from scope_batch.core.timeline import Coverage, Kind

INVISIBLE = 0.001
"""Shares below this are left out; otherwise interrupted transitions would list every earlier prompt."""


class Shares:
    """Computes the prompts of each chunk of a plan with their shares. `chunks`: all chunks of the plan."""

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        self._of = ConditioningValues([chunk.conditioning for chunk in chunks], _of_blend, _of_step)

    def __call__(self, chunk: Chunk) -> tuple[Prompt, ...]:
        """Return texts and their shares, which sum to 1; for a transition both sides, weighted by its t."""
        conditioning = chunk.conditioning
        if isinstance(conditioning, Transition) and conditioning.t == 1:
            return _of_step((), conditioning)
        return self._of(conditioning)


def _of_blend(blend: Blend) -> tuple[Prompt, ...]:
    return blend.prompts


def _of_step(source: Iterable[Prompt], step: Transition) -> tuple[Prompt, ...]:
    return _mixed(source, step.target.prompts, step.t)


def _mixed(source: Iterable[Prompt], target: Iterable[Prompt], t: float) -> tuple[Prompt, ...]:
    totals: dict[str, float] = {}
    for prompts, share in ((source, 1 - t), (target, t)):
        for prompt in prompts:
            totals[prompt.text] = totals.get(prompt.text, 0.0) + share * prompt.weight
    visible = {text: weight for text, weight in totals.items() if weight >= INVISIBLE}
    total = sum(visible.values())
    return tuple(Prompt(text, weight / total) for text, weight in visible.items())


def shares_of(chunks: Sequence[Chunk]) -> list[tuple[Prompt, ...]]:
    """Return the shares of each chunk of a plan, in its order."""
    return list(map(Shares(chunks), chunks))


def rate(fps: Fraction) -> str:
    """Format frames per second: 16, 29.97."""
    return f"{float(fps):.6g}"


def clock(seconds: float) -> str:
    """Format seconds as "0:03.75"."""
    minutes, rest = divmod(round(seconds * 100), 6000)
    return f"{minutes}:{rest // 100:02}.{rest % 100:02}"


def noise_scale(chunk: Chunk) -> str:
    """Return "0.70", "controller 0.61-0.79" (moving to still), or nothing in text mode."""
    if chunk.noise_scale is None:
        return ""
    if not chunk.noise_controller:
        return f"{chunk.noise_scale:.2f}"
    moving, still = (geometry.controlled_noise_scale(motion, chunk.noise_scale) for motion in (1.0, 0.0))
    return f"controller {moving:.2f}-{still:.2f}"


def attention_bias(chunk: Chunk) -> str:
    """Return "0.30", or nothing if the pipeline has no such weight."""
    return "" if chunk.attention_bias is None else f"{chunk.attention_bias:.2f}"


def steps(chunk: Chunk) -> str:
    """Return the timesteps that run, "600 750": in video mode the first one depends on the noise scale."""
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
    """Return "a cat", or "30% a cat + 70% a tiger"."""
    if len(shares) == 1:
        return shares[0].text
    return " + ".join(f"{share.weight:.0%} {share.text}" for share in shares)


def event(chunk: Chunk) -> str:
    """Return "cut: reset_cache", "recache: prompt change", "new prompt", or nothing."""
    if chunk.cut_reason is not None:
        return "start" if chunk.index == 0 else f"cut: {chunk.cut_reason}"
    if chunk.recache_reason is not None:
        return f"recache: {chunk.recache_reason}"
    return "new prompt" if chunk.text_changed else ""


def sources_of(plan: Plan) -> list[tuple[str, ...]]:
    """Return the VACE inputs per chunk: "control", "mask", "first image", "last image", "reference"."""
    control, masks = (_coverage(plan, kind) for kind in ("control", "masks"))
    return [tuple(_sources(chunk, control, masks)) for chunk in plan.chunks]


def _coverage(plan: Plan, kind: Kind) -> Coverage:
    return Coverage((each.first_frame, each.end_frame) for each in plan.placements if each.source.kind == kind)


def _sources(chunk: Chunk, control: Coverage, masks: Coverage) -> Iterable[str]:
    span = chunk.first_frame, chunk.last_frame + 1
    covered = control.covers(*span), masks.covers(*span)
    if chunk.vace is None:
        return
    yield from (name for name, is_covered in zip(("control", "mask"), covered, strict=True) if is_covered)
    yield from (still.name for still in chunk.vace.stills)
    if chunk.vace.reference is not None:
        yield "reference"
