"""The variables that libraries read when they are imported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scope_batch.cli.environment import prepare_libraries


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {name: value for name, value in os.environ.items() if "TRITON" not in name})


def test_compiled_kernels_are_kept_in_the_cache_folder(tmp_path: Path) -> None:
    os.environ["SCOPE_BATCH_CACHE"] = str(tmp_path)
    prepare_libraries(verbose=True, deterministic=False)
    assert os.environ["TRITON_CACHE_DIR"] == str(tmp_path / "triton")


def test_a_folder_that_the_user_has_chosen_stays() -> None:
    os.environ["TRITON_CACHE_DIR"] = "elsewhere"
    prepare_libraries(verbose=True, deterministic=False)
    assert os.environ["TRITON_CACHE_DIR"] == "elsewhere"
