"""Run in an environment with scope-batch, this package and pytest."""

from scope_batch_example.bars import colour_of
from scope_batch_example.trails import TRAILS

from scope_batch.plugin import check_processor


def test_trails_fulfil_the_contract_of_a_processor() -> None:
    check_processor(TRAILS)
    assert check_processor(TRAILS, fade=0.99).mean() > check_processor(TRAILS, fade=0.0).mean()


def test_two_prompts_have_different_colours() -> None:
    assert (colour_of("a cat") != colour_of("a dog")).any()
