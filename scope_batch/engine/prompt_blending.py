"""Blends prompt embeddings into one, by weight or as the steps of a transition.

All arithmetic is float32 on the host, [512, text_dim] per prompt; it runs once per prompt change, never per step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from scope_batch.core.conditioning import Blend, BlendMethod, Conditioning, ConditioningValues, Transition

Lookup = Callable[[str], Tensor]
"""Maps a text to its embedding, float32 [512, text_dim]; rows beyond the text's tokens are zero."""

EPSILON = 1e-8
SAME_DIRECTION_RAD = 1e-4
"""Rows at a smaller angle than this are interpolated linearly."""


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Interpolate each row of [tokens, dim] spherically, t in 0..1; parallel rows are interpolated linearly.

    The reference differs: it is linear only if all rows are parallel, and turns a row of angle exactly 0 into zeros.
    """
    a, b = a.double(), b.double()  # acos loses half its digits near equal rows
    unit_a, unit_b = (x / x.norm(dim=-1, keepdim=True).clamp_min(EPSILON) for x in (a, b))
    angle = torch.acos((unit_a * unit_b).sum(-1, keepdim=True).clamp(-1, 1))
    sine = torch.sin(angle) + EPSILON
    on_arc = torch.sin((1 - t) * angle) / sine * a + torch.sin(t * angle) / sine * b
    return torch.where(angle < SAME_DIRECTION_RAD, torch.lerp(a, b, t), on_arc).float()


def mix(a: Tensor, b: Tensor, t: float, method: BlendMethod) -> Tensor:
    """Interpolate between two embeddings [tokens, dim], t in 0..1."""
    return slerp(a, b, t) if method == "slerp" else torch.lerp(a, b, t)


def blend(embeddings: list[Tensor], weights: list[float], method: BlendMethod) -> Tensor:
    """Blend embeddings [tokens, dim] by weights that sum to 1; "slerp" takes exactly two.

    A linear blend is rescaled to the weighted mean of the embeddings' norms.
    """
    if len(embeddings) == 1:
        return embeddings[0]
    if method == "slerp":
        first, second = embeddings
        return slerp(first, second, weights[1])
    total = torch.zeros_like(embeddings[0])
    for embedding, weight in zip(embeddings, weights, strict=True):
        total.add_(embedding, alpha=weight)
    norm = total.norm()
    mean_norm = sum(w * e.norm() for e, w in zip(embeddings, weights, strict=True))
    return total * (mean_norm / norm) if norm > EPSILON else total


def embedder(lookup: Lookup, conditionings: Sequence[Conditioning]) -> ConditioningValues[Tensor]:
    """Return a function that computes the embedding, float32 [512, text_dim], of each chunk's conditioning.

    conditionings  those of the plan's chunks, in order.
    """

    def embed_blend(target: Blend) -> Tensor:
        texts = [lookup(prompt.text) for prompt in target.prompts]
        return blend(texts, [prompt.weight for prompt in target.prompts], target.method)

    def embed_step(source: Tensor, step: Transition) -> Tensor:
        return mix(source, embed_blend(step.target), step.t, step.method)

    return ConditioningValues(conditionings, embed_blend, embed_step)
