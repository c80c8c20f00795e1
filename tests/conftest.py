"""What several rooms of the tests share."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from filelock import FileLock
from xdist.scheduler import WorkStealingScheduling

from scope_batch.models.folder import TINY_VERSION
from scope_batch.models.sizes import TINY_SIZES
from tests.analytic_models.sizes import ANALYTIC_SIZES

# Tests run side by side, and tiny tensors gain nothing from threads that wait for each other. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Whoever started the tests (nohup, a service) may have had hang-ups ignored, and children inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


# Tests compute on the CPU, also where a GPU is, except under `pytest -m gpu`; Triton interprets its kernels. Before any
# other conftest.py imports Triton. Workers inherit these variables and do not know the options.
if "PYTEST_XDIST_WORKER" not in os.environ and not any(
    option == "-m" and "gpu" in value for option, value in pairwise(sys.argv)
):
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


ANALYTIC = Path(__file__).parent / "analytic_models"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing that a test makes reaches the user's cache. In it `models: tiny` is the analytic set, which is faster.

    Tests of the trained set take the fixture `trained_set`.
    """
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCOPE_BATCH_CACHE", str(cache))
        kept = getattr(request.config, "cache", None)  # absent under `-p no:cacheprovider`
        models = _analytic_set(tmp_path_factory.mktemp("analytic") if kept is None else kept.mkdir("analytic"))
        (cache / "tiny").symlink_to(models / "tiny")
        patch.setattr("scope_batch.models.sizes.TINY_SIZES", ANALYTIC_SIZES)
        yield


@pytest.fixture(scope="session")
def _trained_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def trained_set(_trained_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`models: tiny` is the trained set of the package."""
    monkeypatch.setenv("SCOPE_BATCH_CACHE", str(_trained_cache))
    monkeypatch.setattr("scope_batch.models.sizes.TINY_SIZES", TINY_SIZES)


def _analytic_set(place: Path) -> Path:
    """Return the folder with the analytic set, built in `place` once for each version of its sources."""
    digest = hashlib.sha256(str(TINY_VERSION).encode())
    for source in sorted(ANALYTIC.glob("*.*")):
        digest.update(source.read_bytes())
    folder = place / digest.hexdigest()[:16]
    with FileLock(place / "lock"):  # workers of one run begin together
        if not (folder / "complete").exists():
            from tests.analytic_models.build import build_all

            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("SCOPE_BATCH_CACHE", str(folder))
                build_all()
            (folder / "complete").touch()
    return folder
