"""Small clips, made on the spot: random frames stored without loss, or ffmpeg's test picture."""

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from scope_batch.media.ffmpeg import QUIET, Child, file_url, run_quiet

Frames = NDArray[np.uint8]
HEIGHT, WIDTH = 48, 64


def random_frames(count: int, height: int = HEIGHT, width: int = WIDTH, channels: int = 3) -> Frames:
    return np.random.default_rng(count).integers(0, 256, (count, height, width, channels), np.uint8)


def write_lossless(path: Path, frames: Frames, fps: Fraction | int = 25, *output: str) -> Path:
    """`frames` as FFV1 (or as `output` says) in the container of `path`'s suffix."""
    _, height, width, channels = frames.shape
    pixels = ("rgb24", "bgr0") if channels == 3 else ("rgba", "bgra")
    source = ["-f", "rawvideo", "-pix_fmt", pixels[0], "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    encode = output or ("-c:v", "ffv1", "-pix_fmt", pixels[1])
    with Child([*QUIET, "-y", *source, *encode, file_url(path)], stdin=True) as child:
        child.stdin.write(frames.tobytes())
        child.stdin.close()
        assert child.wait() == 0, child.last_messages()
    return path


def ffmpeg(*args: str | int | Path) -> None:
    done = run_quiet([*QUIET, "-y", *(str(arg) for arg in args)])
    assert done.returncode == 0, done.stderr


@pytest.fixture
def lossless(tmp_path: Path) -> Callable[..., tuple[Path, Frames]]:
    """lossless(count, name, fps, *output): a clip of random frames and the frames."""

    def make(count: int = 20, name: str = "clip.mkv", fps: Fraction | int = 25, *output: str) -> tuple[Path, Frames]:
        frames = random_frames(count)
        return write_lossless(tmp_path / name, frames, fps, *output), frames

    return make


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Path], Path]], Path]:
    """made(recipe): the clip that a function of `recipes` writes to a folder, cached; do not change it."""
    return cache(lambda recipe: recipe(tmp_path_factory.mktemp("made")))


@pytest.fixture
def drawn_clip(tmp_path: Path) -> Callable[..., Path]:
    """drawn_clip(name, *output, source=...): a clip of ffmpeg's test picture, 64x48, 20 frames at 25 fps."""

    def make(name: str, *output: str | Path, source: str = "testsrc=s=64x48:r=25:d=0.8") -> Path:
        path = tmp_path / name
        ffmpeg("-f", "lavfi", "-i", source, *output, path)
        return path

    return make
