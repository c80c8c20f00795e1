"""Every pipeline renders, in both modes, to a video file and an array in one pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scope_batch.pipelines import PIPELINES
from tests.render.helpers import TINY, Renderer, decode, load_frames

IDS = [spec.id for spec in PIPELINES.values() if spec.needs_models]
CAT_THEN_DOG = {"chunk_specs": [{"frame": 12, "text": "a red dog in the snow"}]}


@pytest.mark.parametrize("mode", ["text", "video"])
@pytest.mark.parametrize("pipeline", IDS)
def test_it_renders(tiny: Renderer, clip: Path, pipeline: str, mode: str) -> None:
    count = 14
    video = {"input_path": str(clip)} if mode == "video" else {}
    tiny(TINY, "out.mp4", "out.npy", pipeline_id=pipeline, num_frames=count, denoising_steps=[1000, 500], **video)
    frames = load_frames(tiny.folder / "out.npy")
    assert frames.shape == (count, 64, 64, 3)
    assert len({frame.tobytes() for frame in frames}) == count, "a frame is there twice"
    assert np.abs(decode(tiny.folder / "out.mp4").astype(int) - frames).mean() < 12


def frames_of(tiny: Renderer, **fields: Any) -> np.ndarray:
    return tiny.frames(TINY, num_frames=21, denoising_steps=[1000], **fields)


@pytest.mark.parametrize("pipeline", IDS[1:])
def test_a_new_prompt_shows_and_leaves_the_past_alone(tiny: Renderer, pipeline: str) -> None:
    plain = frames_of(tiny, pipeline_id=pipeline)
    changed = frames_of(tiny, pipeline_id=pipeline, **CAT_THEN_DOG)
    same = [np.array_equal(a, b) for a, b in zip(plain, changed, strict=True)]
    assert all(same[:9]) and not any(same[-4:])


def test_the_memory_bank_acts_from_the_second_chunk_on(tiny: Renderer) -> None:
    plain, banked = (frames_of(tiny, pipeline_id="memflow", memory_bank=bank) for bank in (False, True))
    same = [np.array_equal(a, b) for a, b in zip(plain, banked, strict=True)]
    assert all(same[:9]) and not any(same[9:])
