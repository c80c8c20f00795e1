from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scope_batch.chunk import Plan
from scope_batch.events import silent
from scope_batch.pipelines import PIPELINES
from scope_batch.session import ChunkInputs, EngineRequest
from scope_batch.slate import load
from scope_batch.slate.layout import make_layout
from scope_batch.slate.theme import CUT, INK, font
from scope_batch.slate.words import wrap
from tests.plan.helpers import CLIP, plan, video_plan

SLATE = PIPELINES["slate"]
Picture = NDArray[np.uint8]


def drawn(plan: Plan) -> Iterator[Picture]:
    """Every chunk's frames [T, H, W, 3], from an input whose frame i is gray of level i."""
    with load(EngineRequest(PIPELINES["slate"]), silent).session(plan, silent) as session:
        for chunk in plan.chunks:
            pixels = None
            if chunk.mode == "video":
                levels = np.arange(chunk.first_frame, chunk.first_frame + chunk.frames, dtype=np.uint8)
                pixels = np.broadcast_to(levels[:, None, None, None], (chunk.frames, 32, 48, 3)).copy()
            yield session.generate(chunk, ChunkInputs(pixels)).frames()


def slate_plan(*entries: dict[str, Any], **fields: Any) -> Plan:
    return plan(*entries, spec=SLATE, **{"num_frames": 30, "height": 96, "width": 160, **fields})


@pytest.mark.parametrize(("height", "width"), [(64, 64), (320, 576), (480, 832), (832, 480), (64, 2048), (2048, 64)])
def test_any_size_is_drawn_in_full(height: int, width: int) -> None:
    entries = [{"chunk": 1, "prompts": [{"text": "B"}, {"text": "C" * 300}], "transition_num_steps": 2}]
    chunks = list(drawn(slate_plan(*entries, height=height, width=width)))
    assert [c.shape for c in chunks] == [(n, height, width, 3) for n in (9, 12, 12)]
    assert all(c.dtype == np.uint8 for c in chunks)


def test_the_largest_size_is_drawn() -> None:
    (frames,) = drawn(slate_plan(num_frames=1, height=2048, width=2048))
    assert frames.shape == (9, 2048, 2048, 3)


def test_every_frame_differs_from_the_one_before() -> None:
    frames = np.concatenate(list(drawn(slate_plan())))[:30]
    assert all((a != b).any() for a, b in pairwise(frames))


def test_the_same_plan_is_drawn_the_same() -> None:
    made = slate_plan({"chunk": 1, "text": "dog"})
    assert all((a == b).all() for a, b in zip(drawn(made), drawn(made), strict=True))


def test_the_thumbnail_is_the_input_s_own_frame() -> None:
    made = video_plan(spec=SLATE, num_frames=30, height=96, width=160, clip=replace(CLIP, frames=30))
    left, top, right, bottom = make_layout(96, 160).thumbnail
    frames = np.concatenate(list(drawn(made)))
    shown = frames[:, (top + bottom) // 2, (left + right) // 2, 0]
    assert shown.tolist() == list(range(len(frames)))


def test_a_cut_is_marked_on_its_chunk_and_on_the_strip() -> None:
    layout = make_layout(480, 832)

    def red(frame: Picture, box: tuple[int, int, int, int]) -> int:
        left, top, right, bottom = box
        return int((frame[top:bottom, left:right] == CUT).all(-1).sum())

    above_strip = (layout.strip[0], layout.strip[1] - 20, layout.strip[2], layout.strip[1])
    made = slate_plan({"chunk": 1, "reset_cache": True, "seed": 1}, height=480, width=832)
    plain, cut, *_ = (chunk[0] for chunk in drawn(made))
    assert red(cut, layout.label) > 500 and red(plain, above_strip) > 10
    assert red(next(drawn(slate_plan(height=480, width=832)))[0], above_strip) == 0


def test_the_playhead_moves_with_the_frame() -> None:
    left, top, right, _ = make_layout(96, 160).strip
    frames = np.concatenate(list(drawn(slate_plan())))[:30]
    heads = [int(np.flatnonzero((frame[top, left:right] == INK).all(-1)).mean()) for frame in frames]
    assert heads == sorted(heads) and heads[0] < 5 and heads[-1] > right - left - 6


def test_there_are_no_latents_and_no_device_memory() -> None:
    engine, made = load(EngineRequest(PIPELINES["slate"]), silent), slate_plan(num_frames=1)
    with engine.session(made, silent) as session:
        assert session.generate(made.chunks[0]).latents() is None
    assert engine.peak_device_bytes() == 0


def test_the_slate_takes_longlive_s_steering() -> None:
    entry = {
        "chunk": 1,
        "text": "B",
        "transition_num_steps": 3,
        "seed": 1,
        "denoising_steps": [900, 400],
        "manage_cache": False,
    }
    assert slate_plan(entry).chunks[1].denoising_steps == (900, 400)


def test_wrapped_text_fits_and_ends_in_an_ellipsis() -> None:
    face = font(16)
    lines = wrap("the quick brown fox jumps over the lazy dog " * 3, face, 120, 2)
    assert len(lines) == 2 and lines[1].endswith("…")
    assert all(face.getlength(line) <= 120 for line in lines)


def test_a_word_wider_than_the_line_is_split() -> None:
    assert "".join(wrap("x" * 50, font(16), 100, 9)) == "x" * 50
