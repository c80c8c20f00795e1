"""Defines the prompts that condition a chunk as values: blends, and steps of a transition from one to another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
BlendMethod = Literal["linear", "slerp"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One text and its share of the blend; the weights of a blend sum to 1."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Blend:
    """Prompts that act together. `method` is "linear" unless there are exactly two prompts."""

    prompts: tuple[Prompt, ...]
    method: BlendMethod = "linear"


@dataclass(frozen=True, slots=True)
class Transition:
    """Step `step` of `steps` (0-based) from `source` to `target`; `t` in 0..1 is the share of the target.

    source  a blend, or, if this transition interrupted another one, the index of the chunk before it, whose
            conditioning is the source. `ConditioningValues` resolves such chains.
    """

    source: Blend | int
    target: Blend
    method: BlendMethod
    step: int
    steps: int
    t: float


Conditioning = Blend | Transition


def texts_of(conditionings: Iterable[Conditioning]) -> list[str]:
    """Return the texts of these conditionings without duplicates, in order of appearance.

    A source given as a chunk index is skipped, as that chunk's own conditioning has its texts.
    """
    texts: dict[str, None] = {}
    for conditioning in conditionings:
        blends = [conditioning.target] if isinstance(conditioning, Transition) else [conditioning]
        if isinstance(conditioning, Transition) and isinstance(conditioning.source, Blend):
            blends.insert(0, conditioning.source)
        texts.update((prompt.text, None) for blend in blends for prompt in blend.prompts)
    return list(texts)


class ConditioningValues(Generic[T]):
    """Computes a value for each conditioning of a plan, such as its embedding.

    Chains of interrupted transitions are resolved without recursion. The last few values are kept, so that the steps
    of a transition do not compute their source again.

    conditionings  one per chunk of the plan, for sources given as a chunk index.
    of_blend       computes the value of a blend.
    mix            computes the value of a transition from that of its source.
    """

    KEPT = 4

    def __init__(
        self,
        conditionings: Sequence[Conditioning],
        of_blend: Callable[[Blend], T],
        mix: Callable[[T, Transition], T],
    ) -> None:
        self._conditionings, self._of_blend, self._mix = conditionings, of_blend, mix
        self._kept: dict[Conditioning, T] = {}

    def __call__(self, conditioning: Conditioning) -> T:
        steps: list[Transition] = []
        node = conditioning
        while isinstance(node, Transition) and node.t < 1 and node not in self._kept:
            steps.append(node)
            node = node.source if isinstance(node.source, Blend) else self._conditionings[node.source]
        value = self._of_end(node)
        for step in reversed(steps):
            value = self._keep(step, self._mix(value, step))
        return value

    def _of_end(self, node: Conditioning) -> T:
        """Return the value of a blend, a completed transition, or a conditioning whose value is kept."""
        if node in self._kept:
            return self._kept[node]
        return self._keep(node, self._of_blend(node.target if isinstance(node, Transition) else node))

    def _keep(self, conditioning: Conditioning, value: T) -> T:
        self._kept[conditioning] = value
        while len(self._kept) > self.KEPT:
            del self._kept[next(iter(self._kept))]
        return value
