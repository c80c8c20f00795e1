"""Tests the warnings about VACE sources that get lost, end early or have no effect."""

from __future__ import annotations

import pytest

from scope_batch.errors import JobError
from tests.plan.steering import steered


def test_a_reference_that_would_push_the_last_image_out_is_refused() -> None:
    both = {"chunk": 2, "last_frame_image": "/e.png", "vace_ref_images": ["/r.png"]}
    with pytest.raises(JobError, match=r"both act in chunk 2: .* the last image would be lost"):
        steered(both)


def test_control_that_ends_inside_a_chunk_is_reported() -> None:
    (warning,) = steered({"chunk": 1, "vace_frames": "/c 10.npy"}).warnings
    assert warning.endswith("ends with frame 18, inside chunk 1 (frames 9 to 20): from there on the chunk is gray")


@pytest.mark.parametrize("frames", [12, 24])
def test_control_that_ends_with_its_chunk_is_not(frames: int) -> None:
    assert steered({"chunk": 1, "vace_frames": f"/c {frames}.npy"}).warnings == ()


def test_nor_control_that_other_control_continues() -> None:
    slots = [{"chunk": k, "vace_frames": f"/c{k} 12.npy"} for k in range(4)]
    assert steered(*slots, chunk_grid=12, num_frames=48).warnings == ()


def test_a_mask_alone_does_not_keep_the_input_video() -> None:
    notes = steered(input_path="/clip.mp4", vace_masks="/m 96.npy").notes
    assert any("the kept areas are gray, not the input video" in note for note in notes)
    both = steered(input_path="/clip.mp4", vace_masks="/m 96.npy", vace_frames="/c 96.npy").notes
    assert not any("gray" in note for note in both)


def test_a_scale_of_zero_is_reported() -> None:
    notes = steered(vace_frames="/c 96.npy", vace_context_scale=[1, 0, 0.5]).notes
    assert "VACE has no effect in chunk 1: vace_context_scale is 0" in notes


def test_rising_steps_are_reported() -> None:
    (warning,) = steered(denoising_steps=[250, 1000]).warnings
    assert warning.startswith("denoising_steps: 250 1000 in chunks 0, 1, 2") and "do not fall" in warning


def test_an_entry_that_sets_nothing_is_reported() -> None:
    assert steered({"chunk": 2, "vace_frames": None}).warnings == ("chunk_specs[0] (chunk 2): sets nothing",)
