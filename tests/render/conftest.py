from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scope_batch.render import Engines
from tests.render.helpers import Renderer, ffmpeg


@pytest.fixture(scope="session")
def tiny_engines() -> Engines:
    """The tiny models, loaded once for all."""
    return Engines()


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
