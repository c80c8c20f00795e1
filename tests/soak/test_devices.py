"""A small run of the soak program; by hand it renders 40 jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.devices import soak, write_jobs


@pytest.mark.slow
def test_jobs_on_several_devices_survive_kills_and_a_stop(tmp_path: Path) -> None:
    names = write_jobs(tmp_path, 3, lambda _: 120, pipeline_id="slate", height=64, width=64)
    assert soak(tmp_path, names, "cpu:2", kills=2, chunks=30, seed=1) == []
