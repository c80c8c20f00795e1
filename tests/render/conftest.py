from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from scope_batch.__main__ import main
from scope_batch.core.engine import Engine, EngineRequest
from scope_batch.events import Report
from scope_batch.pipelines import PIPELINES
from scope_batch.render.engine_pool import Engines
from tests.engine.small import small_engine
from tests.render.helpers import Refused, Renderer, ffmpeg
from tests.render.resuming import Runs
from tests.soak.kill import Loaded, write_lora


class KeptEngines(Engines):
    """Keeps the last eight engines, so that tests that take turns with the models do not load them each time."""

    def __init__(self) -> None:
        super().__init__()
        self._pools: dict[EngineRequest, Engines] = {}

    def get(self, request: EngineRequest, report: Report) -> Engine:
        key = replace(request, vace=False)
        self._pools[key] = self._pools.pop(key, None) or Engines()
        if len(self._pools) > 8:
            del self._pools[next(iter(self._pools))]
        return self._pools[key].get(request, report)


@pytest.fixture(scope="session")
def tiny_engines() -> Engines:
    """The tiny models, loaded once for all."""
    return KeptEngines()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small gain nothing by more threads, and lose much when the cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny(tmp_path: Path, tiny_engines: Engines) -> Renderer:
    return Renderer(tmp_path, tiny_engines)


@pytest.fixture
def slate(tmp_path: Path) -> Renderer:
    return Renderer(tmp_path, Engines())


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 moving frames of 64x64 at 16 fps."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:r=16:d=1.25", "-pix_fmt", "yuv420p", path)
    return path


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Refused:
    """refused(arguments, code, pattern): `render` exits with `code`, prints one line, and writes nothing.

    loads  models may be loaded before it is seen.
    """
    monkeypatch.chdir(tmp_path)

    def check(arguments: list[str], code: int, pattern: str, *, loads: bool = False) -> None:
        before = {*tmp_path.rglob("*")}
        assert main(["render", *arguments]) == code
        out, err = capfd.readouterr()
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and re.search(pattern, errors[0]), err
        assert out == "" and errors[0].isprintable() and len(errors[0]) < 1000
        assert loads or "loading" not in err
        assert "Traceback" not in err and "bug" not in err
        assert {*tmp_path.rglob("*")} == before

    return check


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    folder = tmp_path_factory.mktemp("lora")
    write_lora(folder / "style.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield Loaded(small_engine(PIPELINES["longlive"], tiny_vae=True))


@pytest.fixture
def runs(tmp_path: Path, engines: Engines) -> Runs:
    return Runs(tmp_path, engines)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, engines: Engines) -> Callable[..., bytes]:
    """Bytes of an uninterrupted render without a work folder."""

    def render(**fields: Any) -> bytes:
        folder = tmp_path_factory.mktemp("whole")
        return Runs(folder, engines)(options={"resume": None, "checkpoint_every": 0}, **fields)

    return render
