"""Small plans, frames that differ, and a way to run them through open sinks."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from scope_batch.core.conditioning import Blend, Prompt
from scope_batch.core.plan import Chunk, Plan
from scope_batch.media.ffmpeg import QUIET, Child, file_url
from scope_batch.sinks.output import parse_outputs
from scope_batch.sinks.output_set import SinkSettings, claim_outputs, open_sinks
from scope_batch.sinks.publish import Publication
from scope_batch.sinks.sink import FileSink, stops_now
from scope_batch.sinks.writer import BackgroundWriter

HEIGHT, WIDTH = 64, 96


def plan_of(num_frames: int, fps: Fraction = Fraction(16)) -> Plan:
    """Chunks of 9 and then 12 frames, text mode."""
    chunks: list[Chunk] = []
    first = 0
    while first < num_frames:
        frames = 12 if chunks else 9
        chunks.append(
            Chunk(
                index=len(chunks),
                first_frame=first,
                frames=frames,
                keep=min(frames, num_frames - first),
                latents=3,
                start_latent=3 * len(chunks),
                mode="text",
                cut_reason=None if chunks else "start",
                recache_reason=None,
                conditioning=Blend((Prompt("a cat"),)),
                text_changed=False,
                seed=1,
                denoising_steps=(1000,),
                noise_scale=None,
                noise_controller=False,
            )
        )
        first += frames
    return Plan("slate", num_frames, fps, HEIGHT, WIDTH, tuple(chunks))


def frames_of(count: int, first: int = 0) -> np.ndarray:
    """uint8 [count, 64, 96, 3]: a moving gradient, so that all frames differ."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    t = np.arange(first, first + count)[:, None, None]
    return np.stack([(x + 3 * t) % 256, (2 * y + t) % 256, (x + y + 0 * t) % 256], axis=-1).astype(np.uint8)


@dataclass
class FakeChunk:
    """A `Generated` with given frames, or one that fails."""

    chunk: Chunk
    error: Exception | None = None

    def frames(self) -> np.ndarray:
        if self.error:
            raise self.error
        return frames_of(self.chunk.frames, self.chunk.first_frame)

    def latents(self) -> np.ndarray | None:
        return np.full((self.chunk.latents, 16, HEIGHT // 8, WIDTH // 8), self.chunk.index, np.float32)


Between = Callable[[BackgroundWriter, Chunk], None]


def render_to(
    *outputs: object, num_frames: int = 30, settings: SinkSettings | None = None, between: Between | None = None
) -> BackgroundWriter:
    """Render `num_frames` of `frames_of`; `between` is called after each chunk is submitted."""
    settings = settings or SinkSettings()
    plan = plan_of(num_frames)
    parsed = parse_outputs([*outputs], [], None, "job")
    with (
        claim_outputs(parsed, settings) as publication,
        open_sinks(parsed, plan, settings, publication) as writer,
    ):
        for chunk in plan.chunks:
            writer.submit(FakeChunk(chunk), chunk.keep)
            if between:
                between(writer, chunk)
    return writer


S = TypeVar("S", bound=FileSink)


@contextmanager
def published(kind: Callable[..., S], path: Path, *args: Any, overwrite: bool = False, **more: Any) -> Iterator[S]:
    """A sink on its own, published at the end or kept as a partial as `open_sinks` does it for several."""
    with Publication([path], overwrite=overwrite) as publication:
        try:
            with kind(path, *args, publication=publication, **more) as sink:
                yield sink
            publication.publish()
        except BaseException as error:
            if not stops_now(error):
                publication.keep_partials(error)
            raise


def decode(path: Path) -> np.ndarray:
    """Every frame of a video, uint8 RGB [T, 64, 96, 3]."""
    args = [*QUIET, "-i", file_url(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-fps_mode", "passthrough", "-"]
    with Child(args, stdout=True) as child:
        assert child.stdout is not None
        data = child.stdout.read()
        assert child.wait() == 0
    return np.frombuffer(data, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)


@pytest.fixture
def make_plan():
    return plan_of


@pytest.fixture
def make_frames():
    return frames_of


@pytest.fixture
def fake_chunk():
    return FakeChunk


@pytest.fixture
def render():
    return render_to


@pytest.fixture
def publish():
    return published


@pytest.fixture
def decoded():
    return decode


@pytest.fixture
def names(tmp_path: Path):
    """The names of the files in the test's folder."""
    return lambda: sorted(path.name for path in tmp_path.iterdir())


@pytest.fixture
def python() -> str:
    return sys.executable
