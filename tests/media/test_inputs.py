import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scope_batch.core.frames import NO_INPUTS, ChunkInputs, ControlFrames
from scope_batch.core.plan import Plan, Still, Vace
from scope_batch.errors import JobError
from scope_batch.media import image_files, video
from scope_batch.media.chunk_inputs import InputReader, open_inputs
from scope_batch.media.images import read_image
from scope_batch.media.planes import FloatArrayReader
from tests.media.conftest import random_frames, write_lossless
from tests.media.plans import SIZE, VACE, as_frames, chunk_of, floats, place, plan_of, saved


def inputs_of(plan: Plan) -> list[ChunkInputs]:
    with open_inputs(plan) as inputs:
        return [inputs.get() for _ in plan.chunks]


def controls_of(plan: Plan) -> list[ControlFrames]:
    return [inputs.control for inputs in inputs_of(plan) if inputs.control is not None]


def the_control(*placements, vace: Vace = VACE, frames: int = 12) -> ControlFrames:
    return controls_of(plan_of(chunk_of(frames, vace), placements=placements))[0]


def an_image(path: Path, value: int) -> Path:
    Image.new("RGB", (SIZE, SIZE), (value, value, value)).save(path)
    return path


def test_a_plan_without_inputs_starts_no_thread():
    before = threading.active_count()
    with open_inputs(plan_of(chunk_of(9, None), chunk_of(12, None))) as inputs:
        assert inputs.get() is NO_INPUTS and inputs.get() is NO_INPUTS
        assert threading.active_count() == before
        with pytest.raises(IndexError):
            inputs.get()


@pytest.mark.parametrize("lengths", [(9, 12, 12), (13, 12, 9), (5, 4, 4, 4, 4, 13), (33,), (1,) * 34])
@pytest.mark.parametrize("fill", ["none", "hold", "loop"])
def test_chunks_are_windows_of_one_timeline(tmp_path, lengths, fill):
    frames, masks = floats(7), floats(11, 1)
    placements = (
        place(saved(tmp_path / "a.npy", frames), "control", 3, 30, fill),
        place(saved(tmp_path / "m.npy", masks), "masks", 5, 25, fill),
        place(saved(tmp_path / "b.npy", -frames), "control", 12, 17, "none"),
    )
    plan = plan_of(*(chunk_of(n, cut=i == 1) for i, n in enumerate(lengths)), placements=placements, num_frames=32)
    whole = controls_of(plan_of(chunk_of(32), placements=placements))[0]
    controls = controls_of(plan)
    held = np.minimum(np.arange(sum(lengths)), 31)
    for field, expected in (("frames", whole.frames), ("masks", whole.masks)):
        np.testing.assert_array_equal(np.concatenate([getattr(c, field) for c in controls]), expected[held])


@pytest.mark.parametrize("seed", range(6))
def test_pauses_cuts_and_leads_are_windows_of_the_same_timeline(tmp_path, seed):
    rng = np.random.default_rng(seed)
    placements = [place(saved(tmp_path / "a.npy", floats(80)))]
    for i in range(4):
        first, frames, kind = int(rng.integers(50)), int(rng.integers(1, 9)), ("control", "masks")[i % 2]
        path = saved(tmp_path / f"{i}.npy", floats(frames, 3 if kind == "control" else 1, seed=i))
        placements.append(
            place(path, kind, first, first + int(rng.integers(1, 20)), rng.choice(["none", "hold", "loop"]))
        )
    chunks, fed = [], False
    for _ in range(6):
        cut, paused = rng.random() < 0.3, rng.random() < 0.3
        vace = None if paused else replace(VACE, restart_streams=cut or not fed)
        chunks.append(chunk_of(int(rng.integers(4, 13)), vace, cut=bool(cut)))
        fed = not paused
    chunks[0] = replace(chunks[0], cut_reason="the start")
    plan = plan_of(*chunks, placements=tuple(placements))
    whole = the_control(*placements, frames=plan.num_frames)
    for chunk, inputs in zip(plan.chunks, inputs_of(plan), strict=True):
        assert (inputs.control is None) == (chunk.vace is None)
        if inputs.control is not None:
            rows = slice(chunk.first_frame - chunk.lead, chunk.first_frame + chunk.frames)
            np.testing.assert_array_equal(inputs.control.frames, whole.frames[rows])
            np.testing.assert_array_equal(inputs.control.masks, whole.masks[rows])


def test_uncovered_frames_are_gray_and_generated_and_the_last_placement_is_on_top(tmp_path):
    a, b = floats(6), floats(4, seed=1)
    control = the_control(place(saved(tmp_path / "a.npy", a), first=2), place(saved(tmp_path / "b.npy", b), first=6))
    assert not control.frames[:2].any() and not control.frames[10:].any() and (control.masks == 1).all()
    np.testing.assert_array_equal(control.frames[2:6], as_frames(a)[:4])
    np.testing.assert_array_equal(control.frames[6:10], as_frames(b))


def test_a_mask_without_frames_is_applied_to_gray(tmp_path):
    masks = floats(12, 1)
    control = the_control(place(saved(tmp_path / "m.npy", masks), "masks"))
    np.testing.assert_array_equal(control.masks, as_frames(masks))
    assert not control.frames.any() and control.inactive_is_gray and control.reactive_is_gray


def test_fill_decides_what_follows_the_last_frame(tmp_path):
    a = floats(5)
    path = saved(tmp_path / "a.npy", a)
    for fill, shown in (("loop", [0, 1, 2, 3, 4, 0, 1]), ("hold", [0, 1, 2, 3, 4, 4, 4])):
        control = the_control(place(path, fill=fill, end=7), frames=9)
        np.testing.assert_array_equal(control.frames[:7], as_frames(a)[shown])
        assert not control.frames[7:].any()


def test_beyond_the_last_delivered_frame_the_last_one_is_held(tmp_path):
    a, m = floats(20), floats(20, 1)
    placements = (place(saved(tmp_path / "a.npy", a)), place(saved(tmp_path / "m.npy", m), "masks"))
    control = controls_of(plan_of(chunk_of(9), chunk_of(12), placements=placements, num_frames=13))[1]
    shown = [9, 10, 11, *[12] * 9]
    np.testing.assert_array_equal(control.frames, as_frames(a)[shown])
    np.testing.assert_array_equal(control.masks, as_frames(m)[shown])


def lead_of(*placements, vace: Vace = VACE) -> ControlFrames:
    started = replace(vace, restart_streams=True)
    plan = plan_of(chunk_of(9, None, cut=True), chunk_of(12, started), placements=placements)
    assert plan.chunks[1].lead == 1
    control = controls_of(plan)[0]
    assert len(control.frames) == len(control.masks) == 13
    return control


def test_a_stream_that_starts_in_the_middle_is_led_by_the_frame_before(tmp_path):
    a, m = floats(21), floats(21, 1)
    frames, masks = place(saved(tmp_path / "a.npy", a)), place(saved(tmp_path / "m.npy", m), "masks")
    control = lead_of(frames, masks)
    np.testing.assert_array_equal(control.frames, as_frames(a)[8:])
    np.testing.assert_array_equal(control.masks, as_frames(m)[8:])
    masked = lead_of(masks)
    np.testing.assert_array_equal(masked.masks, as_frames(m)[8:])


def test_without_a_frame_before_the_first_one_leads(tmp_path):
    a, m = floats(12), floats(12, 1)
    placements = (place(saved(tmp_path / "a.npy", a), first=9), place(saved(tmp_path / "m.npy", m), "masks", 9))
    control = lead_of(*placements)
    np.testing.assert_array_equal(control.frames, as_frames(a)[[0, *range(12)]])
    np.testing.assert_array_equal(control.masks, as_frames(m)[[0, *range(12)]])


def test_a_still_counts_as_the_first_frame_and_from_the_chunks_beginning(tmp_path):
    white = an_image(tmp_path / "white.png", 255)
    control = lead_of(vace=Vace(1.0, stills=(Still(white, 0, 4),)))
    assert (control.frames[:5] == 1).all() and not control.frames[5:].any()
    assert not control.masks[:5].any() and (control.masks[5:] == 1).all()


def test_stills_are_complete_without_a_mask_and_the_last_is_on_top(tmp_path):
    white, black = an_image(tmp_path / "white.png", 255), an_image(tmp_path / "black.png", 0)
    vace = Vace(1.0, stills=(Still(white, 0, 4), Still(black, 3, 12)), restart_streams=False)
    control = the_control(vace=vace)
    assert (control.frames[:3] == 1).all() and (control.frames[3:] == -1).all() and not control.masks.any()
    assert not control.inactive_is_gray and control.reactive_is_gray


def test_a_still_shows_only_where_the_mask_generates(tmp_path):
    a, masks = floats(12), np.zeros((1, 1, 12, SIZE, SIZE), np.float32)
    masks[..., 4:8], masks[..., 8:] = 0.5, 0.7
    placements = (place(saved(tmp_path / "a.npy", a)), place(saved(tmp_path / "m.npy", masks), "masks"))
    white = an_image(tmp_path / "white.png", 255)
    control = the_control(*placements, vace=replace(VACE, stills=(Still(white, 0, 4), Still(white, 2, 4))))
    assert (control.frames[:4, :, 8:] == 1).all() and not control.masks[:4].any()
    np.testing.assert_array_equal(control.frames[:4, :, :8], as_frames(a)[:4, :, :8])
    np.testing.assert_array_equal(control.frames[4:], as_frames(a)[4:])
    np.testing.assert_array_equal(control.masks[4:], as_frames(masks)[4:])


def test_the_reference_is_cut_to_the_picture_and_the_callers_own(tmp_path):
    wide = np.zeros((SIZE, 3 * SIZE, 3), np.uint8)
    wide[:, SIZE : 2 * SIZE] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    vace = Vace(1.0, reference=tmp_path / "wide.png")
    first, second = inputs_of(plan_of(chunk_of(9, vace), chunk_of(12, vace)))
    assert first.control is None and first.reference is not None and first.reference.dtype == np.float32
    first.reference[:] = 0
    assert second.reference is not None and second.reference.shape == (SIZE, SIZE, 3)
    assert (second.reference[:, 3:-3] == 1).all()


@pytest.mark.parametrize(
    ("frames_at", "masked", "expected"),
    [(None, False, (True, True)), (5, False, (True, False)), (5, True, (True, False)), (12, True, (False, True)),
     ((5, 12), True, (False, False))],
)  # fmt: skip
def test_flags_say_which_stream_is_gray(tmp_path, frames_at, masked, expected):
    a, masks = np.zeros((1, 3, 12, SIZE, SIZE), np.float32), np.ones((1, 1, 12, SIZE, SIZE), np.float32)
    masks[..., 8:] = 0.5
    if frames_at is not None:
        a[0, 1, 3, 2, frames_at] = 0.25
    placements = [place(saved(tmp_path / "a.npy", a))]
    if masked:
        placements.append(place(saved(tmp_path / "m.npy", masks), "masks"))
    control = the_control(*placements)
    kept = control.frames * (control.masks <= 0.5)[..., None]
    assert (control.inactive_is_gray, control.reactive_is_gray) == expected
    assert control.inactive_is_gray == (not kept.any())


def test_frames_and_masks_may_be_named_in_any_order(tmp_path):
    frames, masks = (
        place(saved(tmp_path / "a.npy", floats(12))),
        place(saved(tmp_path / "m.npy", floats(12, 1)), "masks"),
    )
    a, b = the_control(frames, masks), the_control(masks, frames)
    np.testing.assert_array_equal(a.frames, b.frames)
    np.testing.assert_array_equal(a.masks, b.masks)


def test_one_channel_of_control_is_gray_light(tmp_path):
    depth = floats(12, 1)
    control = the_control(place(saved(tmp_path / "d.npy", depth)))
    np.testing.assert_array_equal(control.frames, np.repeat(as_frames(depth)[..., None], 3, axis=-1))


def test_control_and_mask_videos_are_scaled_to_their_ranges(tmp_path):
    frames = random_frames(12, SIZE, SIZE)
    path = write_lossless(tmp_path / "c.mkv", frames)
    control = the_control(place(path), place(path, "masks"))
    np.testing.assert_array_equal(control.frames, frames.astype(np.float32) / np.float32(127.5) - np.float32(1))
    np.testing.assert_array_equal(control.masks, frames.mean(axis=-1) > 127)


def test_a_mask_image_lasts_is_decoded_once_and_takes_the_nearest_pixels(tmp_path, monkeypatch):
    mask = random_frames(1, SIZE * 3, SIZE * 3)[0, ..., 0]
    Image.fromarray(mask).save(tmp_path / "mask.png")
    decoded = []
    monkeypatch.setattr(image_files, "read_image", lambda path, *a: decoded.append(path) or read_image(path, *a))
    control = the_control(place(tmp_path / "mask.png", "masks", fill="hold"))
    np.testing.assert_array_equal(control.masks, np.broadcast_to(mask[1::3, 1::3] > 127, control.masks.shape))
    assert len(decoded) == 1


def videos_of(plan: Plan) -> Iterator[np.ndarray]:
    for inputs in inputs_of(plan):
        assert inputs.pixels is not None and inputs.pixels.dtype == np.uint8
        yield inputs.pixels


def test_video_holds_the_nearest_covered_frame(tmp_path):
    a, b = random_frames(4, SIZE, SIZE), random_frames(5, SIZE, SIZE)
    placements = (place(saved(tmp_path / "a.npy", a), "video", 2), place(saved(tmp_path / "b.npy", b), "video", 11, 15))
    plan = plan_of(chunk_of(13, None, mode="video"), chunk_of(12, None, mode="video"), placements=placements,
                   num_frames=20)  # fmt: skip
    shown = [a[0], a[0], *a, a[3], a[3], a[3], b[0], b[0], *b[:4], *[b[3]] * 10]
    np.testing.assert_array_equal(np.concatenate(list(videos_of(plan))), shown)


def test_a_video_that_is_read_in_order_is_one_decoder(tmp_path, monkeypatch):
    started = []
    child = video.Child
    monkeypatch.setattr(video, "Child", lambda *a, **k: started.append(1) or child(*a, **k))
    frames = random_frames(24, SIZE, SIZE)
    path = write_lossless(tmp_path / "c.mkv", frames)
    fresh = replace(VACE, restart_streams=True)
    plan = plan_of(chunk_of(9, cut=True), chunk_of(12, None), chunk_of(12, fresh), chunk_of(12),
                   placements=(place(path, end=45, fill="hold"),))  # fmt: skip
    controls_of(plan)
    assert len(started) == 1


def test_reading_fails_with_the_file_and_the_frame(tmp_path):
    path = saved(tmp_path / "a.npy", floats(24))
    plan = plan_of(chunk_of(8), chunk_of(8), chunk_of(8), placements=(place(path),))
    with open_inputs(plan) as inputs:
        inputs.get()
        path.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(JobError, match=r"a.npy: frame \d+ of 24 is missing"):
            for _ in range(2):  # the next chunk may have been read before
                inputs.get()


def test_no_more_of_a_file_is_read_than_a_chunk_shows(tmp_path, monkeypatch):
    plan = plan_of(*[chunk_of(10)] * 4, placements=(place(saved(tmp_path / "a.npy", floats(100)), first=5),))
    sizes: list[int] = []
    pread = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, into, at: sizes.append(len(into[0])) or pread(fd, into, at))
    frame_bytes = 3 * SIZE * SIZE * 4
    with InputReader(plan) as reader:
        for shown in (5, 10, 10):
            sizes.clear()
            reader.read(plan.chunks[0] if shown == 5 else plan.chunks[2])
            assert sum(sizes) == shown * frame_bytes


def test_a_file_is_opened_once_when_it_is_first_shown_and_closed_after_its_last_frame(tmp_path, monkeypatch):
    opened, closed = [], []
    open_file, close = FloatArrayReader.__init__, FloatArrayReader.close
    monkeypatch.setattr(FloatArrayReader, "__init__", lambda *a: opened.append(a[1].name) or open_file(*a))
    monkeypatch.setattr(FloatArrayReader, "close", lambda planes: closed.append(planes.name) or close(planes))
    a, b = saved(tmp_path / "a.npy", floats(10)), saved(tmp_path / "b.npy", floats(10))
    placements = (place(a, first=0, end=10), place(a, first=10, end=20), place(b, first=30, end=40))
    plan = plan_of(*[chunk_of(10)] * 4, placements=placements)
    with InputReader(plan) as reader:
        for chunk, (has_opened, has_closed) in zip(
            plan.chunks, [("a", ""), ("a", ""), ("a", ""), ("ab", "a")], strict=True
        ):
            reader.read(chunk)
            assert ["".join(names).replace(".npy", "") for names in (opened, closed)] == [has_opened, has_closed]
        np.testing.assert_array_equal(reader.read(plan.chunks[0]).control.frames, as_frames(floats(10)))
