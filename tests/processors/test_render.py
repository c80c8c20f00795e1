"""Post-processors that change count, rate and size, from the plan to the files."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scope_batch.errors import Interrupted, JobError, UnavailableError
from scope_batch.events import ChunkDone, Event, Finished, Started
from scope_batch.media.validate import probe_clip
from scope_batch.processors.builtin import gray
from scope_batch.render.engine_pool import Engines
from scope_batch.render.fingerprint import plugins_of
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from scope_batch.sinks.metadata import read_metadata
from scope_batch.sinks.writer import BackgroundWriter
from scope_batch.slate.engine import DrawnChunk
from tests.processors.kinds import doubled, mean
from tests.render.helpers import SLATE, Renderer, StopAt, ffmpeg, job_of, load_frames, names_in

pytestmark = pytest.mark.usefixtures("installed")
DOUBLED: dict[str, Any] = {**SLATE, "num_frames": 25, "post_processor_id": "double"}


@pytest.fixture
def slate(tmp_path: Path) -> Renderer:
    return Renderer(tmp_path, Engines())


def of_kind(events: list[Event], kind: type) -> Iterator[Any]:
    return (event for event in events if isinstance(event, kind))


def test_a_doubled_rate_is_exact_in_every_output(slate: Renderer) -> None:
    plain = slate.frames(SLATE, num_frames=25)
    options = RenderOptions(preview=slate.folder / "preview.png")
    done = slate(DOUBLED, "a.npy", "a.mkv", "a.mp4", "%03d.png", options=options)
    assert np.array_equal(load_frames(slate.folder / "a.npy"), doubled(plain))
    for name in ("a.mkv", "a.mp4"):
        clip = probe_clip(slate.folder / name)
        assert (clip.frames, clip.fps) == (50, 32)
    pictures = sorted(slate.folder.glob("0*.png"))
    assert len(pictures) == 50
    assert np.array_equal(np.asarray(Image.open(slate.folder / "preview.png")), plain[-1])
    assert np.array_equal(np.asarray(Image.open(pictures[-2])), plain[-1])
    assert (done.frames, done.num_frames) == (50, 50)


def test_progress_counts_delivered_frames(slate: Renderer) -> None:
    slate({**DOUBLED, "post_processor_id": ["double", "half"]}, "a.npy")
    (started,) = of_kind(slate.events, Started)
    assert (started.num_frames, started.fps, started.height, started.width) == (25, 16, 32, 32)
    chunks = list(of_kind(slate.events, ChunkDone))
    assert [chunk.frames for chunk in chunks] == [8, 12, 5]
    assert [chunk.frames_done for chunk in chunks] == [8, 20, 25]
    assert load_frames(slate.folder / "a.npy").shape == (25, 32, 32, 3)


def test_chunks_that_are_held_back_whole_come_at_the_end(slate: Renderer) -> None:
    plain = slate.frames(SLATE, num_frames=25)
    output = slate.frames(SLATE, num_frames=25, post_processor_id="far")
    assert np.array_equal(output, mean(plain, plain[[24] * 25]))
    assert [chunk.frames_done for chunk in of_kind(slate.events, ChunkDone)] == [0, 0, 25]


def test_the_metadata_is_a_job_and_its_output_is_up_to_date(slate: Renderer) -> None:
    processor = {"id": "edges", "params": {"strength": 2}}
    job = {**DOUBLED, "post_processor_id": [processor, "double"]}
    slate(job, "a.mp4")
    again = read_metadata(slate.folder / "a.mp4")["job"]
    assert [use["id"] for use in again["post_processor_id"]] == ["edges", "double"]
    assert again["post_processor_id"][0]["params"] == {"strength": 2}
    skip = RenderOptions(skip_existing=True)
    skipped = slate_again(slate, job, skip)
    assert [event.message for event in skipped] == ["every output exists and was made from this job"]
    processor["params"] = {"strength": 3}
    with pytest.raises(Exception, match="rendered from this job"):
        slate_again(slate, job, skip)


def slate_again(slate: Renderer, job: dict[str, Any], options: RenderOptions) -> list[Finished]:
    events: list[Event] = []
    options = replace(options, outputs=(str(slate.folder / "a.mp4"),))
    render_job(job_of(job), "job", options, events.append, engines=slate.engines)
    return list(of_kind(events, Finished))


def test_sound_is_as_long_as_the_delivered_video(slate: Renderer, tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=d=9", tmp_path / "sound.wav")
    slate({**SLATE, "num_frames": 16, "audio": str(tmp_path / "sound.wav"), "post_processor_id": "slow"}, "a.mp4")
    ffmpeg("-i", slate.folder / "a.mp4", "-map", "0:a", slate.folder / "out.wav")
    with wave.open(str(slate.folder / "out.wav")) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
    assert len(samples) == pytest.approx(2.0 * 44100, rel=0.05)
    assert np.abs(samples[int(1.5 * 44100) : int(1.9 * 44100)]).max() > 1000, "it falls silent"


def test_after_a_signal_the_remaining_frames_of_a_processor_are_written(slate: Renderer) -> None:
    plain = slate.frames(SLATE, num_frames=25)
    for left in slate.folder.iterdir():
        left.unlink()
    with pytest.raises(Interrupted):
        slate(DOUBLED, "a.npy", "a.mp4", stop=StopAt(1, Interrupted(2)))
    assert names_in(slate.folder) == {"a.partial.npy", "a.partial.mp4", "a.partial.npy.json"}
    assert np.array_equal(load_frames(slate.folder / "a.partial.npy"), doubled(plain[:9]))
    assert probe_clip(slate.folder / "a.partial.mp4").frames == 18


@pytest.mark.parametrize("name", ["failing", "tenfold"])
def test_a_processor_that_fails_ends_the_render_in_one_line(slate: Renderer, name: str) -> None:
    with pytest.raises(UnavailableError, match=f"^the processor '{name}' of an unknown package: ") as caught:
        slate({**DOUBLED, "post_processor_id": name}, "a.mp4")
    assert "\n" not in str(caught.value) and not names_in(slate.folder)


def test_after_a_fault_nothing_is_flushed() -> None:
    called: list[str] = []

    class Faulty:
        def process(self, frames: np.ndarray) -> np.ndarray:
            called.append("process")
            raise UnavailableError(f"no more than {len(frames)}")

        def flush(self) -> np.ndarray:
            called.append("flush")
            return np.empty((0, 64, 64, 3), np.uint8)

    with pytest.raises(UnavailableError, match="no more than 9"), BackgroundWriter([], post=Faulty()) as writer:
        writer.submit(DrawnChunk(np.zeros((9, 64, 64, 3), np.uint8)), 9)
    assert called == ["process"]


def test_packages_of_processors_are_in_the_origin() -> None:
    assert plugins_of(job_of(SLATE, post_processor_id=["gray", "double"])) == ["an unknown package"]
    assert plugins_of(job_of(SLATE, post_processor_id="gray")) == []


def test_two_renders_are_equal_and_one_that_failed_leaves_nothing_behind(slate: Renderer) -> None:
    job = {**SLATE, "num_frames": 25, "post_processor_id": ["ahead", "double", "trail"]}
    first = slate.npy(job)
    with pytest.raises(Interrupted):
        slate(job, "b.npy", stop=StopAt(1, Interrupted(2)))
    assert slate.npy(job) == first


@pytest.mark.parametrize("by", ["latents", "vace"])
def test_the_input_is_processed_before_it_is_rendered(slate: Renderer, by: str) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), np.uint8)
    np.save(slate.folder / "colour.npy", colour)
    np.save(slate.folder / "gray.npy", gray(colour))
    before = {} if by == "latents" else {"vace_use_input_video": True}
    after = {} if by == "latents" else {"pre_processor_output": "vace_frames"}
    job = {**SLATE, "num_frames": 20}
    wanted = slate.npy(job, input_path=str(slate.folder / "gray.npy"), **before)
    output = slate.npy(job, input_path=str(slate.folder / "colour.npy"), pre_processor_id="gray", **after)
    assert output == wanted != slate.npy(job, input_path=str(slate.folder / "colour.npy"), **before)


def test_a_job_with_several_faults_tells_each(slate: Renderer) -> None:
    with pytest.raises(JobError) as caught:
        slate.npy(SLATE, post_processor_id=[{"id": "edges", "params": {"strength": "x", "blur": 1}}, "rife"])
    assert [line.partition(": ")[0].split(":")[0] for line in caught.value.problems] == ["job.yaml"] * 3
    assert json.dumps(caught.value.problems).count("strength") == 2


def test_a_parameter_that_looks_like_a_path_is_public_by_its_name_alone() -> None:
    job = job_of(SLATE, post_processor_id={"id": "edges"})
    (use,) = job.post_processor_id
    named = use.model_copy(update={"params": {"table": "/home/me/film.cube", "mode": "a/b"}})
    public = job.model_copy(update={"post_processor_id": (named,)}).to_public_dict()
    assert public["post_processor_id"] == [{"id": "edges", "params": {"table": "film.cube", "mode": "a/b"}}]
