from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scope_batch.core.engine import EngineRequest
from scope_batch.core.frames import ChunkInputs, ControlFrames
from scope_batch.core.plan import Chunk, LoraUse, Plan, Still, Vace
from scope_batch.core.timeline import ClipSource, Placement
from scope_batch.events import silent
from scope_batch.pipelines import PIPELINES
from scope_batch.slate import load
from scope_batch.slate.boxes import Box, make_layout
from scope_batch.slate.lanes import curves_of, short_lora_names
from scope_batch.slate.panes import pane_names
from scope_batch.slate.theme import CHANGE, CUT, INK, PANEL, decimals, font, wrap
from tests.plan.helpers import CLIP, plan, video_plan

SLATE = PIPELINES["slate"]
Picture = NDArray[np.uint8]


def drawn(plan: Plan) -> Iterator[Picture]:
    """Every chunk's frames [T, H, W, 3], from an input and control frames of which frame i is gray of level i.

    Masks are 1 from frame 10 on, references are of level 200.
    """
    with load(EngineRequest(PIPELINES["slate"]), silent).session(plan, silent) as session:
        for chunk in plan.chunks:
            yield session.generate(chunk, inputs_of(chunk)).frames()


def inputs_of(chunk: Chunk) -> ChunkInputs:
    pixels = gray(levels(chunk, 0)) if chunk.mode == "video" else None
    if chunk.vace is None:
        return ChunkInputs(pixels)
    control = None
    if chunk.vace.has_frames:
        numbers = levels(chunk, chunk.lead)
        masks = np.broadcast_to((numbers >= 10)[:, None, None], (len(numbers), 32, 48))
        control = ControlFrames(as_float(gray(numbers)), masks.astype(np.float32), False, False)
    reference = as_float(gray(np.array([200])))[0] if chunk.vace.reference else None
    return ChunkInputs(pixels, control, reference)


def levels(chunk: Chunk, lead: int) -> NDArray[np.int64]:
    return np.arange(chunk.first_frame - lead, chunk.first_frame + chunk.frames)


def gray(numbers: NDArray[np.int64]) -> Picture:
    return np.broadcast_to(numbers.astype(np.uint8)[:, None, None, None], (len(numbers), 32, 48, 3)).copy()


def as_float(pixels: Picture) -> NDArray[np.float32]:
    return pixels.astype(np.float32) / 127.5 - 1


def steered(
    made: Plan, *sources: Vace | None, scales: tuple[tuple[float, ...], ...] = (), masked: bool = False
) -> Plan:
    """The plan with a source and LoRA scales for each of its chunks, the last ones repeated."""

    def at(values: tuple[Any, ...], index: int, none: Any) -> Any:
        return values[min(index, len(values) - 1)] if values else none

    chunks = [
        replace(chunk, vace=at(sources, chunk.index, None), lora_scales=at(scales, chunk.index, ()))
        for chunk in made.chunks
    ]
    masks = Placement(ClipSource("masks", Path("/m.mp4")), 0, made.num_frames, "none", "crop", "vace_masks")
    loras = tuple(LoraUse(Path(f"/{name}.safetensors"), merged=False) for name in "ab"[: len(at(scales, 0, ()))])
    return replace(made, chunks=tuple(chunks), loras=loras, placements=(masks,) if masked else ())


def boxes(made: Plan) -> dict[str, Box]:
    return dict(make_layout(made.height, made.width, pane_names(made), len(curves_of(made))).panes)


def middle_of(frames: Picture, box: Box) -> list[int]:
    """The level of a pane's middle in every frame."""
    left, top, right, bottom = box
    return [int(level) for level in frames[:, (top + bottom) // 2, (left + right) // 2, 0]]


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
    left, top, right, bottom = make_layout(96, 160, ["input"]).panes["input"]
    frames = np.concatenate(list(drawn(made)))
    shown = frames[:, (top + bottom) // 2, (left + right) // 2, 0]
    assert shown.tolist() == list(range(len(frames)))


def test_control_and_mask_are_the_frame_s_own() -> None:
    control = Vace(scale=1, timeline=True)
    made = steered(slate_plan(), control, None, control, masked=True)
    assert made.chunks[2].lead == 1
    frames = np.concatenate(list(drawn(made)))
    shown, masks = (middle_of(frames, boxes(made)[name]) for name in ("control", "mask"))
    assert shown[:9] == list(range(9)) and shown[21:33] == list(range(21, 33))
    assert masks[:9] == [0] * 9 and masks[21:33] == [255] * 12
    assert boxes(made).keys() == {"control", "mask"}


def test_without_masks_there_is_no_mask() -> None:
    made = steered(slate_plan(), Vace(scale=1, timeline=True))
    assert boxes(made).keys() == {"control"}
    assert middle_of(next(drawn(made)), boxes(made)["control"]) == list(range(9))


def test_loras_of_one_name_have_a_row_each() -> None:
    made = steered(slate_plan(), scales=((0.5, 0.25),))
    made = replace(made, loras=tuple(LoraUse(Path(f"/{folder}/a.safetensors"), merged=True) for folder in "xy"))
    assert short_lora_names(made) == ("/x/a", "/y/a") and len(list(drawn(made))) == 3


def test_stills_and_references_stand_for_their_whole_chunk() -> None:
    first, last = Still(Path("/f.png"), 0, 4), Still(Path("/l.png"), 8, 12, closing=True)
    made = steered(
        slate_plan(),
        Vace(scale=1, stills=(first,)),
        Vace(scale=1, reference=Path("/r.png")),
        Vace(scale=1, stills=(last,)),
    )
    frames = np.concatenate(list(drawn(made)))
    shown = {name: middle_of(frames, box) for name, box in boxes(made).items()}
    assert shown["first image"][:9] == [0] * 9 and shown["last image"][21:] == [29] * 12
    assert shown["reference"][9:21] == [200] * 12 and 200 not in shown["reference"][:9]


def test_a_last_image_on_the_first_frames_of_a_short_chunk_is_called_that() -> None:
    made = steered(slate_plan(num_frames=11), None, Vace(scale=1, stills=(Still(Path("/l.png"), 0, 12, closing=True),)))
    assert boxes(made).keys() == {"control", "last image"}


@pytest.mark.parametrize(("height", "width"), [(64, 64), (240, 416), (480, 832), (832, 480), (64, 2048), (2048, 64)])
def test_everything_at_once_is_drawn_apart(height: int, width: int) -> None:
    full = Vace(1.0, True, (Still(Path("/f.png"), 0, 4), Still(Path("/l.png"), 8, 9, closing=True)), Path("/r.png"))
    made = video_plan(spec=SLATE, num_frames=30, height=height, width=width, clip=replace(CLIP, frames=30))
    made = steered(made, full, replace(full, scale=0.5), scales=((0, 1), (1, -1), (0.5, 0)), masked=True)
    layout = make_layout(height, width, pane_names(made), len(curves_of(made)))
    assert len(layout.panes) == 6 and len(layout.lanes) == 3
    assert [len(frames) for frames in drawn(made)] == [13, 12, 12]
    for one, other in pairwise(layout.panes.values()):
        assert one[2] <= other[0] or one[3] <= other[1]
    if min(height, width) >= 240:
        assert max(box[3] for box in layout.panes.values()) < layout.values[1] < layout.values[3] < layout.lanes[0][1]
        assert layout.prompts[3] < layout.lanes[0][1] and layout.lanes[-1][3] < layout.strip[1]


def test_only_what_changes_is_a_curve() -> None:
    control = Vace(scale=1, timeline=True)
    made = steered(slate_plan(), control, scales=((0.5, -1), (0.5, 2)))
    (curve,) = curves_of(made)
    assert (curve.name, curve.values, curve.low, curve.high) == ("b", (-1, 2, 2), -1, 2)
    made = steered(slate_plan(), control, None, replace(control, scale=0.25))
    assert [(curve.name, curve.values) for curve in curves_of(made)] == [("vace scale", (1, None, 0.25))]
    assert curves_of(video_plan(noise_scale=[0.5, 0.4]))[0].values[:2] == (0.5, 0.4)
    assert curves_of(video_plan(noise_controller=True, noise_scale=[0.5, 0.4])) == []


def test_a_curve_is_as_high_as_its_value() -> None:
    made = steered(slate_plan(height=480, width=832), scales=((0.0,), (0.5,), (1.0,)))
    left, top, right, bottom = make_layout(480, 832, (), 1).lanes[0]
    lane = next(drawn(made))[0][top:bottom, left:right]
    columns = [left + round((chunk.first_frame + 2) / 30 * (right - left)) - left for chunk in made.chunks]
    heights = [int(np.flatnonzero((lane[:, x] == CHANGE).all(-1)).mean()) for x in columns]
    assert heights[0] > bottom - top - 4 and heights[2] < 3 and abs(heights[1] * 2 - heights[0] - heights[2]) <= 2
    assert (lane[0, columns[0]] == PANEL).all()


def test_the_playhead_crosses_the_curves() -> None:
    made = steered(slate_plan(height=480, width=832), scales=((0.0,), (1.0,)))
    left, top, right, bottom = make_layout(480, 832, (), 1).lanes[0]
    frames = np.concatenate(list(drawn(made)))[:30]
    heads = [np.flatnonzero((frame[top:bottom, left:right] == INK).all((0, 2))).tolist() for frame in frames]
    assert all(len(head) == 1 for head in heads) and heads == sorted(heads)


def test_numbers_have_no_negative_zero() -> None:
    assert [decimals(value) for value in (-0.0, -0.001, 0.305, -1)] == ["0.00", "0.00", "0.30", "-1.00"]


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
