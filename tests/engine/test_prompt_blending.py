import pytest
import torch
from torch import Tensor

from scope_batch.core.conditioning import Blend, Conditioning, Prompt, Transition
from scope_batch.engine.prompt_blending import blend, embedder, slerp

TEXTS = {name: torch.randn(5, 8, generator=torch.Generator().manual_seed(i)) for i, name in enumerate("abcd")}


def only(text: str) -> Blend:
    return Blend((Prompt(text),))


def embed(*conditionings: Conditioning) -> Tensor:
    """Embed a sequence of conditionings and return the last one; a step's source may be the index of an earlier one."""
    return embedder(TEXTS.__getitem__, conditionings)(conditionings[-1])


def step(source: Blend | int, target: str, t: float) -> Transition:
    return Transition(source, only(target), "linear", 1, 4, t)


def test_a_single_prompt_is_itself() -> None:
    assert torch.equal(embed(only("a")), TEXTS["a"])


def test_a_linear_blend_keeps_the_weighted_mean_of_the_norms() -> None:
    mixed = blend([TEXTS["a"], TEXTS["b"]], [0.3, 0.7], "linear")
    want = 0.3 * TEXTS["a"].norm() + 0.7 * TEXTS["b"].norm()
    assert mixed.norm() == pytest.approx(float(want), rel=1e-5)
    straight = 0.3 * TEXTS["a"] + 0.7 * TEXTS["b"]
    assert torch.allclose(mixed / mixed.norm(), straight / straight.norm(), atol=1e-6)


def test_slerp_ends_at_both_ends_and_keeps_unit_length_between() -> None:
    a, b = (x / x.norm(dim=-1, keepdim=True) for x in (TEXTS["a"], TEXTS["b"]))
    assert torch.allclose(slerp(a, b, 0.0), a, atol=1e-5) and torch.allclose(slerp(a, b, 1.0), b, atol=1e-5)
    assert torch.allclose(slerp(a, b, 0.4).norm(dim=-1), torch.ones(5), atol=1e-5)


def test_slerp_of_equal_rows_is_that_row_and_zero_rows_stay_zero() -> None:
    assert torch.allclose(slerp(TEXTS["a"], TEXTS["a"], 0.5), TEXTS["a"], atol=1e-5)
    assert not slerp(torch.zeros(2, 8), torch.zeros(2, 8), 0.5).any()


def test_a_transition_starts_at_its_source_and_ends_at_its_target() -> None:
    assert torch.equal(embed(step(only("a"), "b", 0.0)), TEXTS["a"])
    assert torch.equal(embed(step(only("a"), "b", 1.0)), TEXTS["b"])
    assert torch.allclose(embed(step(only("a"), "b", 0.25)), torch.lerp(TEXTS["a"], TEXTS["b"], 0.25))


def test_a_transition_starts_at_the_current_step_of_another() -> None:
    halfway = step(only("a"), "b", 0.5)
    assert torch.allclose(embed(halfway, step(0, "c", 0.0)), embed(halfway))


def test_embeddings_do_not_depend_on_earlier_ones() -> None:
    halfway = step(only("a"), "b", 0.5)
    chain = [halfway, step(0, "c", 0.5), step(1, "d", 0.5)]
    seasoned = embedder(TEXTS.__getitem__, chain)
    for conditioning in (only("d"), halfway, only("c")):
        seasoned(conditioning)
    assert torch.equal(seasoned(chain[-1]), embed(*chain))


def test_a_very_long_chain_of_interrupted_transitions_needs_no_stack() -> None:
    chain: list[Conditioning] = [only("a"), *(step(i, "bcd"[i % 3], 0.5) for i in range(20_000))]
    assert torch.isfinite(embed(*chain)).all()
