"""Blends prompt embeddings into the one that is in force, by weight or as steps of a transition.

All arithmetic is float32 on the host, [512, text_dim] per prompt; it runs once per prompt change, never per step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from scope_batch.core.conditioning import Blend, BlendMethod, Conditioning, ConditioningValues, Transition

Lookup = Callable[[str], Tensor]
"""Text -> float32 [512, text_dim], rows beyond its tokens zero."""

EPSILON = 1e-8
SAME_DIRECTION_RAD = 1e-4
"""Below this angle slerp is replaced by lerp."""


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Spherical interpolation of each row of [tokens, dim]; parallel rows are interpolated linearly.

    (The reference is linear only if all rows are parallel, and turns a row with angle exactly 0 into zeros.)
    """
    a, b = a.double(), b.double()  # acos loses half its digits near equal rows
    unit_a, unit_b = (x / x.norm(dim=-1, keepdim=True).clamp_min(EPSILON) for x in (a, b))
    angle = torch.acos((unit_a * unit_b).sum(-1, keepdim=True).clamp(-1, 1))
    sine = torch.sin(angle) + EPSILON
    turned = torch.sin((1 - t) * angle) / sine * a + torch.sin(t * angle) / sine * b
    return torch.where(angle < SAME_DIRECTION_RAD, torch.lerp(a, b, t), turned).float()


def mix(a: Tensor, b: Tensor, t: float, method: BlendMethod) -> Tensor:
    return slerp(a, b, t) if method == "slerp" else torch.lerp(a, b, t)


def blend(embeddings: list[Tensor], weights: list[float], method: BlendMethod) -> Tensor:
    """Weighted blend of embeddings; weights sum to 1. A linear sum is scaled to the weighted mean of their norms."""
    if len(embeddings) == 1:
        return embeddings[0]
    if method == "slerp":
        first, second = embeddings
        return slerp(first, second, weights[1])
    total = torch.zeros_like(embeddings[0])
    for embedding, weight in zip(embeddings, weights, strict=True):
        total.add_(embedding, alpha=weight)
    norm = total.norm()
    wanted = sum(w * e.norm() for e, w in zip(embeddings, weights, strict=True))
    return total * (wanted / norm) if norm > EPSILON else total


def embedder(lookup: Lookup, conditionings: Sequence[Conditioning]) -> ConditioningValues[Tensor]:
    """Computes embeddings, float32 [512, text_dim], of the conditionings of a plan, one per chunk."""

    def of_blend(target: Blend) -> Tensor:
        texts = [lookup(prompt.text) for prompt in target.prompts]
        return blend(texts, [prompt.weight for prompt in target.prompts], target.method)

    def of_step(source: Tensor, step: Transition) -> Tensor:
        return mix(source, of_blend(step.target), step.t, step.method)

    return ConditioningValues(conditionings, of_blend, of_step)
