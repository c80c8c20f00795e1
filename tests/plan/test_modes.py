"""Tests chunks with an input video of their own."""

from __future__ import annotations

import pytest

from scope_batch.errors import JobError
from scope_batch.plan import plan_to_dict
from tests.plan.steering import spans, steered


def clip(chunk: int, frames: int, **values: object) -> dict[str, object]:
    return {"chunk": chunk, "input_video": f"/v {frames}.mp4", **values}


def test_every_change_of_mode_is_a_cut_on_the_modes_own_grid() -> None:
    chunks = steered(clip(2, 13), clip(3, 12), num_frames=67, manage_cache=False).chunks
    assert [(c.start_latent, c.latents, c.frames, c.mode) for c in chunks] == [
        (0, 3, 9, "text"),
        (3, 3, 12, "text"),
        (0, 4, 13, "video"),
        (4, 3, 12, "video"),
        (0, 3, 9, "text"),
        (3, 3, 12, "text"),
    ]
    assert [chunks[k].cut_reason for k in (2, 4)] == ["change to video mode", "change to text mode"]
    assert chunks[2].resets_noise_controller


def test_steps_and_noise_are_the_mode_s() -> None:
    chunks = steered(clip(2, 13)).chunks
    assert (chunks[1].denoising_steps, chunks[2].denoising_steps) == ((1000, 750, 500, 250), (1000, 750))
    assert (chunks[1].noise_scale, chunks[2].noise_scale) == (None, 0.7)
    assert (chunks[1].noise_controller, chunks[2].noise_controller) == (False, True)


def test_chunk_0_reaches_as_far_as_its_mode() -> None:
    planned = steered(clip(0, 13), {"frame": 12, "seed": 1})
    assert (planned.chunks[0].frames, planned.landings[1].chunk) == (13, 0)


def test_a_clip_is_held_to_the_end_of_its_chunk() -> None:
    planned = steered(clip(2, 12))
    assert spans(planned) == [("v 12", 21, 34)]
    assert planned.placements[0].fill == "hold"
    assert "input_video of chunk 2 is shorter than its chunk: its last frame is held" in planned.notes


def test_a_clip_longer_than_its_chunk_is_refused() -> None:
    with pytest.raises(JobError, match=r"chunk_specs\[0\]\.input_video: v 14\.mp4 has 14 frames, chunk 2 makes 13$"):
        steered(clip(2, 14))


def test_over_an_input_video_it_takes_one_chunk() -> None:
    planned = steered(clip(1, 12), input_path="/clip.mp4")
    assert spans(planned) == [("clip", 0, 96), ("v 12", 13, 25)]
    assert not any(chunk.cut for chunk in planned.chunks[1:])


def test_noise_for_a_chunk_without_video_is_refused() -> None:
    with pytest.raises(JobError, match="chunk 4 has no input video"):
        steered(clip(2, 13), {"chunk": 4, "noise_scale": 0.5})


def test_the_jobs_noise_acts_in_its_video_chunks() -> None:
    planned = steered(clip(2, 13), noise_scale=0.4)
    assert (planned.chunks[2].noise_scale, planned.chunks[2].noise_controller) == (0.4, False)
    assert plan_to_dict(planned)["mode"] == "mixed"
