from __future__ import annotations

from dataclasses import replace

import pytest

from scope_batch.core.device_memory import DeviceMemory
from scope_batch.core.plan import Plan
from scope_batch.models.sizes import WAN_1_3B, ModelSizes, SideBranches, Weights
from scope_batch.pipelines import PIPELINES
from scope_batch.plan import plan_to_dict
from scope_batch.plan.forecast.estimate import Precision, device_memory, precision_of
from scope_batch.plan.view.table import render_plan
from tests.plan.helpers import CLIP, LONGLIVE, plan, video_plan
from tests.plan.steering import steered

WITH_VACE = WAN_1_3B
PLAIN = replace(WAN_1_3B, vace_blocks=0, vace=Weights())
BFLOAT16 = Precision()
SWITCH = {"chunk": 3, "text": "B"}


def forecast(wanted: Plan, sizes: ModelSizes = PLAIN, precision: Precision = BFLOAT16) -> DeviceMemory:
    return device_memory(wanted, LONGLIVE, sizes, precision)


LARGE = {"height": 480, "width": 832}
CONTROLLED = steered(vace_frames="/f 832x480 96.npy", **LARGE)
LARGE_CLIP = replace(CLIP, **LARGE)


@pytest.mark.parametrize(
    ("wanted", "sizes", "with_kernels_gb", "without_gb"),
    [
        (plan(SWITCH, **LARGE), PLAIN, 11.65, 11.29),
        (plan(SWITCH), PLAIN, 7.34, 6.98),
        (video_plan(clip=LARGE_CLIP, **LARGE), PLAIN, 13.53, 12.41),
        (video_plan(), PLAIN, 8.2, 7.5),
        (CONTROLLED, WITH_VACE, 16.15, 15.1),
    ],
    ids=["832x480", "576x320", "832x480, video", "576x320, video", "832x480, VACE in every chunk"],
)
def test_it_is_near_the_measurement_on_an_h200(
    wanted: Plan, sizes: ModelSizes, with_kernels_gb: float, without_gb: float
) -> None:
    assert forecast(wanted, sizes).peak == pytest.approx(with_kernels_gb * 1e9, rel=0.04)
    without = replace(BFLOAT16, kernels=False)
    assert forecast(wanted, sizes, without).peak == pytest.approx(without_gb * 1e9, rel=0.06)


def test_it_is_near_the_measurement_with_vace_loaded_but_unused() -> None:
    assert forecast(plan(SWITCH, **LARGE), WITH_VACE).peak == pytest.approx(12.7e9, rel=0.1)


def test_the_kv_cache_is_the_window_of_every_layer() -> None:
    assert forecast(plan()).kv_cache == 2 * 30 * 12 * (320 // 16) * (576 // 16) * 1536 * 2


def test_a_memory_bank_takes_four_frames_more() -> None:
    banked = plan(spec=PIPELINES["memflow"], memory_bank=True)
    assert forecast(banked).kv_cache * 12 == forecast(plan()).kv_cache * 16


def test_fp8_halves_the_linear_layers() -> None:
    before, after = forecast(plan()), forecast(plan(), precision=precision_of("auto", "auto", fp8=True))
    assert 0.5 * before.weights < after.weights < 0.6 * before.weights
    assert replace(after, weights=0, prompts=0, offloadable=0) == replace(before, weights=0, prompts=0, offloadable=0)


def test_side_branches_count() -> None:
    beside = replace(PLAIN, branches=SideBranches(numbers=1000, moved=10))
    assert forecast(plan(), beside).persistent - forecast(plan()).persistent == 2 * 1000 + (2 + 4) * 10


def test_float32_is_twice_as_much() -> None:
    assert precision_of("float32", "auto") == Precision(4, 4) and precision_of("auto", "float32") == Precision(2, 4)
    assert forecast(plan(), precision=Precision(4, 4)).kv_cache == 2 * forecast(plan()).kv_cache


def test_the_plan_shows_it() -> None:
    wanted = replace(plan(), memory=forecast(plan(SWITCH)))
    lines = [part.plain for part in render_plan(wanted).renderables if hasattr(part, "plain")]  # type: ignore[attr-defined]
    memory = next(line for line in lines if line.startswith("memory:"))
    assert (
        "about 7.2 GB" in memory
        and "KV cache 1.6" in memory
        and "published sizes" in memory
        and "prompts are encoded" in memory
    )
    document = plan_to_dict(wanted)["device_memory"]
    assert document["peak"] == document["persistent"] + document["transient"] and document["read"] is False


def test_what_the_kernels_hold_counts_only_where_they_run() -> None:
    with_kernels, without = (forecast(plan(), precision=Precision(kernels=on)) for on in (True, False))
    assert with_kernels.kernels > 0 == without.kernels
    assert with_kernels.persistent - without.persistent == with_kernels.kernels
