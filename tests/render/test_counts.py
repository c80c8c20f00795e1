"""Delivered = asked = planned, whatever the length, the mode and the cuts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scope_batch.errors import JobError
from scope_batch.events import Started
from tests.render.helpers import SLATE, TINY, Renderer, decode, ffmpeg

RESET = {"chunk_specs": [{"chunk": 1, "reset_cache": True, "seed": 7000}]}
"""With a seed of its own: the same one would repeat the opening."""


def check_count(render: Renderer, base: dict[str, Any], count: int, **fields: Any) -> None:
    frames = render.frames(base, num_frames=count, **fields)
    (started,) = [event for event in render.events if isinstance(event, Started)]
    assert len(frames) == count == started.num_frames
    assert len({frame.tobytes() for frame in frames}) == count, "a frame is there twice"


@pytest.mark.parametrize("mode", ["text", "video"])
def test_slate_1_to_60(slate: Renderer, mode: str) -> None:
    np.save(slate.folder / "input.npy", np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), np.uint8))
    video = {"input_path": str(slate.folder / "input.npy")} if mode == "video" else {}
    for count in range(1, 61):
        check_count(slate, SLATE, count, **video)
        if count > 14:
            middle = {"chunk_specs": [{"frame": count // 2, "reset_cache": True}]}
            check_count(slate, SLATE, count, **middle, **video)


FEW_STEPS = {"denoising_steps": [1000, 500]}
MODELS = {"text": TINY | FEW_STEPS | {"vae_type": "tae"}, "video": TINY | FEW_STEPS}
"""Video mode uses the encoder and the decoder of Wan."""
LENGTHS = [1, 2, 8, 9, 10, 12, 13, 14, 21, 25, 48, 60]


@pytest.mark.parametrize("mode", ["text", "video"])
@pytest.mark.parametrize("count", LENGTHS)
def test_tiny(tiny: Renderer, clip: Path, mode: str, count: int) -> None:
    check_count(tiny, MODELS[mode], count, **({"input_path": str(clip)} if mode == "video" else {}))


@pytest.mark.parametrize(("mode", "count"), [("text", 18), ("text", 30), ("video", 40)])
def test_tiny_with_a_reset(tiny: Renderer, clip: Path, mode: str, count: int) -> None:
    check_count(tiny, MODELS[mode], count, **RESET, **({"input_path": str(clip)} if mode == "video" else {}))


@pytest.mark.parametrize("count", [1, 9, 25])
@pytest.mark.parametrize("suffix", ["mp4", "webm", "mov"])
def test_video_files_hold_as_many(slate: Renderer, suffix: str, count: int) -> None:
    slate(SLATE, f"out.{suffix}", num_frames=count)
    assert len(decode(slate.folder / f"out.{suffix}")) == count


def test_as_long_as_the_input(slate: Renderer, clip: Path) -> None:
    assert len(slate.frames(SLATE, num_frames="input", input_path=str(clip))) == 20


def test_a_clip_at_another_rate(slate: Renderer, clip: Path) -> None:
    assert len(slate.frames(SLATE, num_frames="input", input_path=str(clip), input_fps=8)) == 10


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """20 frames whose distances differ, over 38 sixteenths of a second."""
    path = tmp_path / "uneven.mkv"
    times = "setpts='if(lt(N,10),N,10+(N-10)*3)/16/TB'"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:r=16:d=1.25", "-vf", times, "-fps_mode", "passthrough", path)
    return path


def test_a_variable_rate_needs_a_rate_to_be_read_at(slate: Renderer, uneven: Path) -> None:
    with pytest.raises(JobError, match=r"uneven\.mkv.*input_fps"):
        slate.frames(SLATE, num_frames="input", input_path=str(uneven))
    assert len(slate.frames(SLATE, num_frames="input", input_path=str(uneven), input_fps=16)) == 38


def test_a_rotated_clip_stands_upright(slate: Renderer, clip: Path, tmp_path: Path) -> None:
    flat, tagged, turned = (tmp_path / f"{name}.mp4" for name in ("flat", "tagged", "turned"))
    lossless = ("-c:v", "libx264", "-qp", 0)
    ffmpeg("-i", clip, "-vf", "crop=64:48", *lossless, flat)
    ffmpeg("-display_rotation", 90, "-i", flat, "-c", "copy", tagged)
    ffmpeg("-i", flat, "-vf", "transpose=cclock", *lossless, turned)
    fields = {"num_frames": 20, "height": 320, "width": 320, "fit": "pad"}
    shown = {path.stem: slate.npy(SLATE, input_path=str(path), **fields) for path in (flat, tagged, turned)}
    assert shown["tagged"] == shown["turned"] != shown["flat"]


def test_a_truncated_clip_is_refused_and_leaves_nothing(slate: Renderer, clip: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(JobError, match=r"cut\.mp4"):
        slate.frames(SLATE, num_frames=20, input_path=str(cut))
    assert [path.name for path in tmp_path.iterdir()] == ["cut.mp4"]
