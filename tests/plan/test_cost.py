"""Counts the calls that planning takes; tests/bench/planner.py measures the seconds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from scope_batch.errors import JobError
from scope_batch.job.expression import Expression
from scope_batch.plan import plan_to_dict
from scope_batch.plan.planner import Walk
from tests.plan.helpers import SDV2, plan, video_plan


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts how often chunks are planned and formulas evaluated."""
    counted: Counter[str] = Counter()

    def count(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def wrapped(*args: Any) -> Any:
            counted[name] += 1
            return real(*args)

        monkeypatch.setattr(owner, name, wrapped)

    count(Walk, "_chunk")
    count(Expression, "value")
    return counted


def test_chunks_after_the_last_entry_are_repeated_not_walked(calls: Counter[str]) -> None:
    planned = plan({"chunk": 5, "text": "B", "transition_num_steps": 3}, num_frames=120_000)
    assert len(planned.chunks) == 10_001 and calls["_chunk"] < 12


SETTLING: dict[str, dict[str, Any]] = {
    "nothing changes": {},
    "a prompt changes": {"chunk_specs": [{"chunk": 3, "text": "B"}]},
    "a transition is cut short by the end": {
        "chunk_specs": [{"chunk": 3, "text": "B", "transition_num_steps": 99}],
    },
    "a chunk has values of its own": {
        "chunk_specs": [{"chunk": 4, "seed": 7, "denoising_steps": [900, 100], "manage_cache": False}],
    },
    "a reset": {"chunk_specs": [{"frame": 40, "reset_cache": True}]},
    "seeds by chunk": {"seed": [1, 2, 3]},
    "slots": {"chunk_grid": 12, "chunk_specs": [{"chunk": 2, "seed": 7}]},
    "images": {"first_frame_image": "/a.png", "last_frame_image": "/b.png", "vace_context_scale": 0.5},
    "a scale that moves": {"first_frame_image": "/a.png", "vace_context_scale": {0: 0.5, 200: 1.0}},
    "a LoRA": {"lora_scales": {"/a.safetensors": {0: 0.0, 100: 1.0}}},
}


@pytest.mark.parametrize("fields", SETTLING.values(), ids=SETTLING.keys())
@pytest.mark.parametrize("num_frames", [200, 201, 204])
def test_repeated_chunks_equal_planned_ones(
    fields: dict[str, Any], num_frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeated = plan_to_dict(plan(num_frames=num_frames, **fields))
    monkeypatch.setattr(Walk, "_is_settled", lambda _: False)
    assert repeated == plan_to_dict(plan(num_frames=num_frames, **fields))


@pytest.mark.parametrize("make", [lambda: video_plan(), lambda: plan(spec=SDV2, num_frames=50)])
def test_they_are_so_in_video_mode_and_with_small_chunks(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    repeated = plan_to_dict(make())
    monkeypatch.setattr(Walk, "_is_settled", lambda _: False)
    assert repeated == plan_to_dict(make())


def test_a_formula_is_evaluated_once_per_chunk(calls: Counter[str]) -> None:
    planned = plan(num_frames=1200, first_frame_image="/a.png", vace_context_scale="0:(1 + 0.5*sin(t))")
    assert calls["value"] == len(planned.chunks)


def test_nothing_is_evaluated_after_a_value_outside_the_range(calls: Counter[str]) -> None:
    formula = f"0:(9 + {'0*t + ' * 100}0)"
    with pytest.raises(JobError, match=r"\.\.\. is 9 at frame 0 \(chunk 0\); allowed: 0\.\.2") as caught:
        plan(num_frames=120_000, first_frame_image="/a.png", vace_context_scale=formula)
    assert calls["value"] == 1 and len(str(caught.value)) < 200
