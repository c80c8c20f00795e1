from __future__ import annotations

import pytest

from scope_batch.core.frame_size import fitted_size, trained_size
from scope_batch.core.plan import Plan
from scope_batch.job import load_text
from scope_batch.render.prepare import prepare_job

TRAINED = (480, 832)


@pytest.mark.parametrize(
    ("size", "fitted"),
    [((480, 832), (480, 832)), ((2160, 3840), (1152, 2048)), ((40, 60), (64, 96)), ((20, 4000), (64, 2048))],
)
def test_sizes_are_fitted(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert fitted_size(*size) == fitted


@pytest.mark.parametrize("size", [(1080, 1920), (1920, 1080), (90, 160), (4000, 3000), (720, 720)])
def test_a_trained_size_keeps_area_and_proportions(size: tuple[int, int]) -> None:
    height, width = trained_size(*size, TRAINED)
    assert height % 16 == width % 16 == 0
    assert height * width == pytest.approx(480 * 832, rel=0.05)
    assert height / width == pytest.approx(size[0] / size[1], rel=0.03)


def plan_of(**fields: object) -> Plan:
    lines = {"pipeline_id": "longlive", "prompt": "a", "num_frames": 9, "models": "folder", **fields}
    return prepare_job(load_text("\n".join(f"{name}: {value}" for name, value in lines.items()), name="j"))


def warnings_of(**fields: object) -> list[str]:
    return [warning for warning in plan_of(**fields).warnings if "trained" in warning]


def test_a_size_far_from_the_trained_one_is_a_warning() -> None:
    plan = plan_of(height=1920, width=1088)
    assert plan.warnings == (
        "1088x1920 has 5.2 times the area of 832x480, on which longlive was trained: quality may suffer "
        "(480x832 is near it)",
    )
    assert plan.memory is not None and plan.memory.peak > 30e9
    assert "0.01 times the area" in warnings_of(height=64, width=64)[0]


@pytest.mark.parametrize(
    "fields",
    [{}, {"height": 480, "width": 832}, {"height": 640, "width": 1136}, {"pipeline_id": "streamdiffusionv2"},
     {"height": 64, "width": 64, "models": "tiny"}, {"height": 64, "width": 64, "pipeline_id": "slate"}],
)  # fmt: skip
def test_a_size_near_it_is_not(fields: dict[str, object]) -> None:
    assert warnings_of(**fields) == []
