"""Tests what a loaded engine says about itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scope_batch.engine.loader import CausalEngine
from scope_batch.pipelines import PIPELINES

CPU, BFLOAT16 = torch.device("cpu"), torch.bfloat16


def engine(**changes: Any) -> CausalEngine:
    transformer: Any = SimpleNamespace(dtype=BFLOAT16, attention=object())
    other: Any = SimpleNamespace(dtype=BFLOAT16)
    return CausalEngine(PIPELINES["longlive"], transformer, other, other, other, CPU, CPU, **changes)


@pytest.mark.parametrize(
    ("speed", "expected"), [("exact", (None, "FlashAttention 3")), ("high", ("high", "FlashAttention 3, fp8"))]
)
def test_the_environment_tells_another_speed_than_exact(speed: str, expected: tuple[str | None, str]) -> None:
    facts = engine(kernels=True, speed=speed).environment()
    assert (facts.get("speed"), facts["attention"]) == expected
