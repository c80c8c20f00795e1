"""Prompts as the planner sees them: weights normalised, slerp only where it exists, equal blends recognised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scope_batch.core.plan import Blend, BlendMethod, Conditioning, Prompt

if TYPE_CHECKING:
    from scope_batch.job.prompts import WeightedPrompt

SAME_WEIGHT = 1e-9


def normalised(prompts: str | tuple[WeightedPrompt, ...]) -> tuple[Prompt, ...]:
    """One text, or weighted texts, as prompts whose weights sum to 1."""
    if isinstance(prompts, str):
        return (Prompt(prompts),)
    total = sum(prompt.weight for prompt in prompts)
    return tuple(Prompt(prompt.text, prompt.weight / total) for prompt in prompts)


def make_blend(prompts: tuple[Prompt, ...], method: BlendMethod) -> Blend:
    """A blend; slerp is for two prompts, any other number is blended linearly."""
    return Blend(prompts, method if len(prompts) == 2 else "linear")


def same(blend: Blend, other: Conditioning | None) -> bool:
    """Whether `other` is this very blend (up to rounding of the weights). A transition is none."""
    return (
        isinstance(other, Blend)
        and blend.method == other.method
        and len(blend.prompts) == len(other.prompts)
        and all(
            a.text == b.text and abs(a.weight - b.weight) < SAME_WEIGHT
            for a, b in zip(blend.prompts, other.prompts, strict=True)
        )
    )
