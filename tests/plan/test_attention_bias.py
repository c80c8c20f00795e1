"""Tests the weight of cached frames in attention, which one pipeline has, and its schedule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scope_batch.core.plan import Plan
from scope_batch.errors import JobError
from scope_batch.plan.view.json import plan_to_dict
from tests.plan.helpers import LONGLIVE, plan
from tests.plan.test_table import row, shown

BIASED = replace(LONGLIVE, id="biased", attention_bias=0.3)


def biased(*entries: dict[str, Any], **fields: Any) -> Plan:
    return plan(*entries, spec=BIASED, num_frames=45, **fields)


def biases(plan: Plan) -> list[float | None]:
    return [None if c.attention_bias is None else round(c.attention_bias, 3) for c in plan.chunks]


def test_the_pipelines_default_holds() -> None:
    assert biases(biased()) == [0.3] * 4


def test_a_schedule_moves_it() -> None:
    assert biases(biased(kv_cache_attention_bias={0: 0.1, 33: 1.0})) == [0.1, 0.4, 0.7, 1.0]
    assert biases(biased(kv_cache_attention_bias=[0.5, 0.2])) == [0.5, 0.2, 0.2, 0.2]


def test_a_chunks_own_holds_for_that_chunk() -> None:
    assert biases(biased({"chunk": 1, "kv_cache_attention_bias": 1.0})) == [0.3, 1.0, 0.3, 0.3]


@pytest.mark.parametrize("value", [0, 0.001, 1.5, "0: (t)"])
def test_beyond_its_range_it_is_refused(value: object) -> None:
    with pytest.raises((JobError, ValueError), match=r"0\.01"):
        biased(kv_cache_attention_bias=value)


def test_a_pipeline_without_it_has_none() -> None:
    assert biases(plan(num_frames=21)) == [None] * 2
    noted = plan(num_frames=21, kv_cache_attention_bias=1.0)
    assert biases(noted) == [None] * 2 and "no such bias" in noted.notes[0]


def test_the_plan_shows_it() -> None:
    constant, moving = biased(), biased(kv_cache_attention_bias=[0.3, 0.5])
    assert [c["kv_cache_attention_bias"] for c in plan_to_dict(moving)["chunks"]] == [0.3, 0.5, 0.5, 0.5]
    assert "bias 0.30" in shown(constant) and "bias" not in shown(plan())
    assert [row(shown(moving), chunk)[-1] for chunk in (0, 1)] == ["0.30", "0.50"]


def test_a_list_that_is_too_long_is_warned_about() -> None:
    (warning,) = biased(kv_cache_attention_bias=[0.3] * 6).warnings
    assert warning == "kv_cache_attention_bias: 6 values for 4 chunks; the last 2 are never used"
