import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scope_batch.core.plan import Plan, Still, Vace
from scope_batch.core.timeline import TENSOR_NAMES, BlobPart
from scope_batch.errors import JobError, MissingInputError
from scope_batch.media.validate import check_material, still_notes
from tests.media import profiles
from tests.media.conftest import random_frames
from tests.media.plans import chunk_of, floats, place, plan_of, saved


def refusal(plan: Plan) -> str:
    with pytest.raises(JobError) as caught:
        check_material(plan)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def two_chunks(*placements, vace: Vace | None = None) -> Plan:
    chunks = (chunk_of(9, vace), chunk_of(12, vace)) if vace else (chunk_of(9), chunk_of(12))
    return plan_of(*chunks, placements=placements)


def test_good_values_pass_even_when_rounding_left_them_a_little_outside(tmp_path):
    a, m = floats(21) * 1.0005, floats(21, 1)
    m[0, 0, 3, 0, 0] = -1e-6
    check_material(two_chunks(place(saved(tmp_path / "a.npy", a)), place(saved(tmp_path / "m.npy", m), "masks")))


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [("control", np.nan, "holds NaN or infinite values"), ("control", -np.inf, "holds NaN or infinite values"),
     ("control", 255, "has values that reach 255: control frames are in -1..1"),
     ("control", -1.01, "has values that reach -1.01: control frames are in -1..1"),
     ("masks", -1, "has values that reach -1: masks are in 0..1"),
     ("masks", 1.1, "has values that reach 1.1: masks are in 0..1"), ("masks", np.nan, "holds NaN")],
)  # fmt: skip
def test_a_bad_value_is_reported_with_field_chunk_and_frame(tmp_path, kind, value, message):
    array = floats(10, 3 if kind == "control" else 1)
    array[0, -1, 7, 3, 3] = value
    plan = two_chunks(place(saved(tmp_path / "a.npy", array), kind, first=4, fill="loop"))
    where = f"job.yaml:3: vace_{TENSOR_NAMES[kind]}: a.npy: frame 7 (delivered frame 11, chunk 1)"
    assert refusal(plan).startswith(f"{where} ") and message in refusal(plan)


def test_values_that_no_delivered_frame_shows_are_not_read(tmp_path):
    a = floats(30)
    a[0, :, 21:] = np.nan
    check_material(two_chunks(place(saved(tmp_path / "a.npy", a))))
    a[0, :, 20] = np.nan
    saved(tmp_path / "a.npy", a)
    assert "frame 20 (delivered frame 20, chunk 1)" in refusal(two_chunks(place(tmp_path / "a.npy")))


def test_an_array_of_another_size_than_the_render_is_refused(tmp_path):
    a = np.zeros((1, 3, 21, 24, 16), np.float32)
    message = refusal(two_chunks(place(saved(tmp_path / "a.npy", a))))
    assert (
        message == "job.yaml:3: vace_frames: a.npy is 16x24 (width x height), the render 16x16; arrays are not resized"
    )


def test_videos_are_not_read_and_blobs_are(tmp_path):
    path = saved(tmp_path / "v.npy", random_frames(21))
    check_material(two_chunks(place(path, "video"), place(path, "control")))
    (tmp_path / "blob").write_bytes(np.full((1, 1, 21, 16, 16), 2, np.float32).tobytes())
    plan = two_chunks(place(tmp_path / "blob", "masks", part=BlobPart(0, (1, 1, 21, 16, 16))))
    assert "blob: frame 0 (delivered frame 0, chunk 0) has values that reach 2" in refusal(plan)


@pytest.mark.parametrize("vace", [Vace(1.0, stills=(Still(Path("x.png"), 0, 4),)), Vace(1.0, reference=Path("x.png"))])
def test_every_still_is_looked_at(tmp_path, vace):
    path = tmp_path / "x.png"
    moved = replace(vace, reference=path) if vace.reference else replace(vace, stills=(Still(path, 0, 4),))
    with pytest.raises(MissingInputError, match=r"x\.png"):
        check_material(two_chunks(vace=moved))
    Image.fromarray(random_frames(1)[0]).save(path)
    check_material(two_chunks(vace=moved))
    os.truncate(path, path.stat().st_size // 2)
    assert "x.png: is damaged or cut short" in refusal(two_chunks(vace=moved))


def test_no_more_than_a_frame_is_held(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.npy", floats(21))
    sizes: list[int] = []
    pread = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, into, at: sizes.append(len(into[0])) or pread(fd, into, at))
    check_material(two_chunks(place(path)))
    assert sum(sizes) == 21 * 3 * 16 * 16 * 4 and max(sizes) == 16 * 16 * 4


def test_an_array_that_many_entries_name_is_read_once(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.npy", floats(21))
    sizes: list[int] = []
    pread = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, into, at: sizes.append(len(into[0])) or pread(fd, into, at))
    check_material(two_chunks(place(path, end=4), place(path, first=9), *[place(path)] * 5))
    assert sum(sizes) == 21 * 3 * 16 * 16 * 4


def test_an_animated_still_is_refused(tmp_path):
    pages = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    pages[0].save(tmp_path / "x.webp", save_all=True, append_images=pages[1:])
    assert "x.webp: is animated" in refusal(two_chunks(vace=Vace(1.0, reference=tmp_path / "x.webp")))


def test_notes_and_warnings_about_stills_appear_once(tmp_path):
    profile = profiles.profile("Display P3", profiles.DISPLAY_P3, profiles.SRGB_GAMMA)
    Image.new("RGB", (16, 16)).save(tmp_path / "first.jpg", icc_profile=profile)
    Image.new("RGB", (16, 16)).save(tmp_path / "look.png", icc_profile=b"nonsense" * 40)
    vace = Vace(1.0, timeline=False, restart_streams=False, stills=(Still(tmp_path / "first.jpg", 0, 4),))
    plan = two_chunks(vace=replace(vace, reference=tmp_path / "look.png"))
    notes, warnings = still_notes(plan)
    assert notes == ["first.jpg: Display P3 colours, converted to sRGB"]
    assert warnings == ["look.png: its colour profile is damaged: its colours are read as sRGB"]
