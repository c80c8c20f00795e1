"""What several rooms of the tests share."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from xdist.scheduler import WorkStealingScheduling

# Tests run side by side, and tiny tensors gain nothing from threads that wait for each other. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Whoever started the tests (nohup, a service) may have had hang-ups ignored, and children inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    """Tests compute on the CPU, also where a GPU is, except under `pytest -m gpu`; Triton interprets its kernels."""
    if "gpu" not in config.option.markexpr:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ["TRITON_INTERPRET"] = "1"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> WorkStealingScheduling:
    """Give each worker a run of neighbouring files, which share fixtures; a worker that is done takes from another."""
    return WorkStealingScheduling(config, log)


PARITY = Path(__file__).parent / "parity"


@pytest.fixture(scope="session")
def model_factory() -> ModuleType:
    """`make_models.py`, the factory of tiny random checkpoints; a script, so it is loaded by path."""
    spec = importlib.util.spec_from_file_location("make_models", PARITY / "make_models.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def parity_models(tmp_path_factory: pytest.TempPathFactory, model_factory: ModuleType) -> Path:
    """Models "default" of the parity cases (seed 0, float32), the parts that LongLive needs. Read-only."""
    parts = ["config", "tokenizer", "longlive", "text_encoder", "lightvae", "vace", "loras"]
    root: Path = model_factory.make(tmp_path_factory.mktemp("models"), parts=parts)
    return root


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that a test makes reaches the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCOPE_BATCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
