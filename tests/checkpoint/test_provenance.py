"""Chunks are told apart by what they are made from, and by nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scope_batch.checkpoint.provenance import Difference, chunk_inputs, differences
from scope_batch.core.plan import Plan
from tests.plan.helpers import plan, video_plan


def digest(path: Path) -> str:
    return f"digest of {path.name}"


def first_change(old: Plan, new: Plan) -> Difference | None:
    pairs = enumerate(zip(chunk_inputs(old, digest), chunk_inputs(new, digest), strict=False))
    found = [difference for index, (one, other) in pairs for difference in differences(one, other, index)]
    return found[0] if found else None


@pytest.mark.parametrize(
    ("entry", "chunk", "field"),
    [
        ({"chunk": 5, "text": "a fox"}, 5, "conditioning"),
        ({"chunk": 2, "seed": 7}, 2, "seed"),
        ({"chunk": 4, "reset_cache": True}, 4, "frames"),
        ({"chunk": 3, "text": "b", "transition_num_steps": 3}, 3, "conditioning"),
    ],
)
def test_an_entry_changes_its_chunk_and_none_before(entry: dict[str, Any], chunk: int, field: str) -> None:
    found = first_change(plan(num_frames=96), plan(entry, num_frames=96))
    assert found is not None
    assert (found.chunk, found.field) == (chunk, field)


def test_a_longer_job_begins_with_the_same_chunks() -> None:
    assert first_change(plan(num_frames=93), plan(num_frames=93 + 48)) is None
    found = first_change(plan(num_frames=96), plan(num_frames=144))
    assert found == Difference(8, "keep", "3", "12"), "the last chunk was not delivered whole"


def test_the_same_job_is_the_same() -> None:
    assert chunk_inputs(plan(num_frames=48), digest) == chunk_inputs(plan(num_frames=48), digest)


def test_another_clip_changes_every_chunk_of_video() -> None:
    made = video_plan(num_frames=48)
    assert all("digest of" in texts["video"] for texts in chunk_inputs(made, digest))
    other = chunk_inputs(made, lambda path: f"other {path.name}")
    found = differences(chunk_inputs(made, digest)[0], other[0])
    assert [difference.field for difference in found] == ["video"]


def test_long_values_are_shortened_for_people() -> None:
    assert str(Difference(3, "text", '"' + "a" * 99 + '"', None)) == f"chunk 3: text: {'a' * 57}... -> nothing"


def test_of_long_values_the_part_that_differs_is_shown() -> None:
    old, new = (f'Blend(prompts=[Prompt(text="{"a" * 80} {animal}",weight=1)])' for animal in ("cat", "dog"))
    assert str(Difference(3, "text", old, new)) == (
        f'chunk 3: text: ...{"a" * 19} cat",weight=1)]) -> ...{"a" * 19} dog",weight=1)])'
    )


def test_of_a_prompt_that_changed_the_text_is_shown() -> None:
    old, new = (
        'Blend(prompts=[Prompt(text="a \\"cat\\"",weight=1)])',
        'Blend(prompts=[Prompt(text="a dog",weight=1)])',
    )
    assert str(Difference(3, "conditioning", old, new)) == 'chunk 3: prompt: "a \\"cat\\"" -> "a dog"'


def test_of_a_weight_that_changed_the_conditioning_is_shown() -> None:
    old, new = (f'Blend(prompts=[Prompt(text="a",weight={weight})])' for weight in (1, 2))
    assert str(Difference(3, "conditioning", old, new)).startswith("chunk 3: conditioning: ")


def test_ratios_are_shown_as_decimal_numbers() -> None:
    assert str(Difference(2, "noise_scale", "7/10", "[1/2,3]")) == "chunk 2: noise_scale: 0.7 -> [0.5,3]"
