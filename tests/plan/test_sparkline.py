from __future__ import annotations

import pytest

from scope_batch.plan.view.curves import sparkline


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([0, 0.25, 0.5, 0.75, 1], "▁▃▅▆█"),
        ([0.8, 0.6, 0.4], "█▅▁"),
        ([-10, 10], "▁█"),
        ([3], "▁"),
        ([2, 2], "▁▁"),
    ],
)
def test_a_block_per_value(values: list[float], line: str) -> None:
    assert sparkline(values) == line


def test_a_long_one_is_sampled_and_loses_no_peak() -> None:
    values = [0.0] * 1000
    values[501] = 1.0
    assert len(sparkline(values)) == 60
    assert sparkline(values).count("█") == 1
    assert sparkline([i / 999 for i in range(1000)])[-1] == "█"
