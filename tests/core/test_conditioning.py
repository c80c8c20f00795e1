from __future__ import annotations

import pickle

from scope_batch.core.conditioning import Blend, Conditioning, ConditioningValues, Prompt, Transition, texts_of

A, B, C = (Blend((Prompt(text),)) for text in "ABC")


def step(source: Blend | int, target: Blend, t: float = 0.5) -> Transition:
    return Transition(source, target, "linear", 1, 4, t)


def words(*conditionings: Conditioning) -> ConditioningValues[str]:
    """Values that show how they were computed: "(A>B)"."""
    return ConditioningValues(conditionings, lambda blend: blend.prompts[0].text, _mix)


def _mix(source: str, step: Transition) -> str:
    return f"({source}>{step.target.prompts[0].text})"


def test_transitions_compare_and_hash_by_value() -> None:
    assert step(A, B) == step(Blend((Prompt("A"),)), B) != step(A, C)
    assert len({step(2, B), step(2, B), step(3, B)}) == 2


def test_a_source_by_index_is_the_conditioning_of_that_chunk() -> None:
    chain = [A, step(A, B), step(1, C)]
    assert [words(*chain)(link) for link in chain] == ["A", "(A>B)", "((A>B)>C)"]


def test_a_completed_transition_is_its_target_whatever_its_source() -> None:
    assert words(A)(step(99, B, t=1.0)) == "B"


def test_the_steps_of_one_transition_compute_their_source_once() -> None:
    computed: list[Blend] = []
    values = ConditioningValues[int]([A], lambda blend: computed.append(blend) or 0, lambda source, _: source)
    for t in (0.0, 0.25, 0.5):
        values(step(A, B, t))
    assert computed == [A]


def test_texts_are_listed_once_in_order_of_appearance() -> None:
    assert texts_of([A, step(A, B), step(1, C), A]) == ["A", "B", "C"]


def test_a_long_chain_pickles_and_is_followed_without_recursion() -> None:
    chain: list[Conditioning] = [A, *(step(index, B) for index in range(5000))]
    assert pickle.loads(pickle.dumps(chain)) == chain
    assert words(*chain)(chain[-1]).count(">") == 5000
