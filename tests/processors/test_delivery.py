"""Built-in processors that change the frames' rate or size, from the plan to the files."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from scope_batch.core.plan import Delivery
from scope_batch.errors import Interrupted, JobError
from scope_batch.events import Started
from scope_batch.golden.golden import bless, verify
from scope_batch.media.validate import probe_clip
from scope_batch.plan.view.json import plan_to_dict
from scope_batch.plan.view.table import render_plan
from scope_batch.render.engine_pool import Engines, request_of
from scope_batch.render.options import RenderOptions
from scope_batch.render.speed_history import expected_s, remember_speed
from scope_batch.sinks.metadata import read_metadata
from tests.render.helpers import SLATE, Renderer, StopAt, ffmpeg, job_of, load_frames, plan_of

FILM: dict[str, Any] = {**SLATE, "num_frames": 25}
FASTER: dict[str, Any] = {"id": "interpolate", "params": {"factor": 1.5}}
LARGER: dict[str, Any] = {"id": "upscale", "params": {"factor": 1.5}}


@pytest.fixture
def slate(tmp_path: Path) -> Renderer:
    return Renderer(tmp_path, Engines())


def test_the_plan_tells_what_is_delivered() -> None:
    plan = plan_of(FILM, post_processor_id=[FASTER, LARGER])
    assert plan.delivery == Delivery(38, Fraction(24), 96, 96)
    assert [len(plan.delivered(chunk)) for chunk in plan.chunks] == [13, 18, 7]
    console = Console(file=io.StringIO(), width=160)
    console.print(render_plan(plan))
    assert "interpolate -> upscale: 38 frames of 96x96 at 24 fps" in console.file.getvalue()  # type: ignore[attr-defined]
    document = plan_to_dict(plan)
    assert document["delivered"] == {"num_frames": 38, "fps": 24, "fps_exact": "24", "height": 96, "width": 96}


def test_every_output_has_the_declared_frames_rate_and_size(slate: Renderer) -> None:
    plain = slate.frames(FILM)
    done = slate(FILM, "a.npy", "a.mp4", "a.webm", "%03d.png", post_processor_id=[LARGER, FASTER])
    assert (done.frames, done.num_frames) == (38, 38)
    (started,) = (event for event in slate.events if isinstance(event, Started))
    assert (started.num_frames, started.fps, started.height, started.width) == (38, 24, 96, 96)
    frames = load_frames(slate.folder / "a.npy")
    assert frames.shape == (38, 96, 96, 3)
    larger = slate.frames(FILM, post_processor_id=LARGER)
    assert np.array_equal(frames[::3], larger[::2]) and len(plain) == len(larger)
    for name in ("a.mp4", "a.webm"):
        clip = probe_clip(slate.folder / name)
        assert (clip.frames, clip.fps, clip.height, clip.width) == (38, 24, 96, 96)
    assert len([*slate.folder.glob("0*.png")]) == 38
    job = read_metadata(slate.folder / "a.mp4")["job"]
    assert (job["num_frames"], job["height"], job["post_processor_id"]) == (25, 64, [LARGER, FASTER])


def test_sound_keeps_its_length_under_a_higher_frame_rate(slate: Renderer, tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=d=9", tmp_path / "sound.wav")
    slate({**SLATE, "num_frames": 16, "audio": str(tmp_path / "sound.wav"), "post_processor_id": FASTER}, "a.mkv")
    clip = probe_clip(slate.folder / "a.mkv")
    assert (clip.frames / clip.fps, clip.has_audio) == (1, True)
    ffmpeg(
        "-i", slate.folder / "a.mkv", "-map", "0:a", "-f", "s16le", "-ar", "8000", "-ac", "1", tmp_path / "sound.raw"
    )
    assert len((tmp_path / "sound.raw").read_bytes()) // 2 == pytest.approx(8000, abs=400)


@pytest.mark.parametrize("uses", [["scribble", "flow"], [FASTER, LARGER]])
def test_a_resumed_film_is_the_uninterrupted_one_and_earlier_jobs_do_not_matter(
    slate: Renderer, uses: list[Any]
) -> None:
    job = {**FILM, "num_frames": 21, "post_processor_id": uses}
    whole = Renderer(slate.folder, Engines()).npy(job)
    slate.npy(FILM, num_frames=9, post_processor_id=["interpolate", "flow"], seed=3)
    (slate.folder / "out.npy").unlink()
    kept = RenderOptions(resume=True, checkpoint_every=1)
    with pytest.raises(Interrupted):
        slate(job, "out.npy", options=kept, stop=StopAt(1, Interrupted(2)))
    slate(job, "out.npy", options=kept)
    assert (slate.folder / "out.npy").read_bytes() == whole


@pytest.mark.parametrize("use", ["upscale", "interpolate"])
def test_before_the_pipeline_rate_and_size_stay(tmp_path: Path, use: str) -> None:
    np.save(tmp_path / "in.npy", np.zeros((20, 64, 64, 3), np.uint8))
    with pytest.raises(JobError, match=f"{use} changes the (number|size) of .*allowed as a post_processor_id only"):
        plan_of(FILM, input_path=str(tmp_path / "in.npy"), pre_processor_id=use)


def test_a_golden_holds_the_delivered_frames(tmp_path: Path) -> None:
    film, options, engines = {**FILM, "num_frames": 10}, RenderOptions(), Engines()
    job = job_of(film, post_processor_id=[LARGER, FASTER])
    blessed = bless(job, tmp_path, options, engines=engines)
    assert blessed.record.count == 15
    assert verify(job, tmp_path, options, engines=engines).passed
    found = verify(job_of(film, post_processor_id=[LARGER, "gray"]), tmp_path, options, engines=engines)
    assert not found.passed and any("post_processor" in str(change) for change in found.job_changes)


def test_the_speed_of_a_job_with_processors_is_remembered_apart() -> None:
    plain, slow = plan_of(FILM), plan_of(FILM, post_processor_id="interpolate")
    request = request_of(job_of(FILM), plain, RenderOptions())
    before = expected_s(plain, request)
    remember_speed(slow, request, 25, 500.0)
    assert (expected_s(plain, request), expected_s(slow, request)) == (before, pytest.approx(500))
