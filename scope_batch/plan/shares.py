"""How much of which text is in force in each chunk, for people to read. The engine interpolates embeddings itself."""

from __future__ import annotations

from collections.abc import Iterable

from scope_batch.core.plan import Chunk, Conditioning, Prompt, Transition

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
