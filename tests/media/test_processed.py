"""Pre-processors between the input and the chunks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scope_batch.core.plan import Chunk, Plan, ProcessorRef
from scope_batch.core.timeline import Placement
from scope_batch.media.chunk_inputs import InputReader, open_inputs
from scope_batch.media.preprocess import Processed
from scope_batch.processors import ProcessorSpec
from scope_batch.processors.chain import Chain, Stage
from tests.media.plans import SIZE, VACE, as_frames, chunk_of, floats, place, plan_of, saved
from tests.processors.kinds import AHEAD, FAR, TRAIL, install, mean


def processed(plan: Plan, *specs: ProcessorSpec, output: str = "video") -> Plan:
    return replace(plan, pre_processors=tuple(ProcessorRef(spec.id, {}) for spec in specs), pre_processor_output=output)


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def trails(frames: np.ndarray) -> np.ndarray:
    before = np.concatenate([frames[:1], frames[:-1]]).astype(int)
    return np.abs(frames.astype(int) - before).astype(np.uint8)


@pytest.fixture
def clip(tmp_path: Path) -> np.ndarray:
    frames = np.random.default_rng(1).integers(0, 256, (20, SIZE, SIZE, 3), np.uint8)
    saved(tmp_path / "clip.npy", frames)
    return frames


def a_video(tmp_path: Path, fill: str = "loop", first: int = 0, end: int = 1000) -> Placement:
    return place(tmp_path / "clip.npy", "video", first, end, fill)  # type: ignore[arg-type]


def video_chunk(frames: int = 12, *, cut: bool = False) -> Chunk:
    return chunk_of(frames, None, mode="video", cut=cut)


def pixels_of(plan: Plan) -> np.ndarray:
    with open_inputs(plan) as inputs:
        blocks = [inputs.get().pixels for _ in plan.chunks]
    return np.concatenate([pixels for pixels in blocks if pixels is not None])


@pytest.mark.parametrize("fill", ["loop", "hold"])
def test_a_processor_sees_the_delivered_frames_and_the_last_one_is_held_behind_them(tmp_path, clip, fill):
    chunks = video_chunk(13, cut=True), video_chunk(), video_chunk(13, cut=True)
    plan = processed(plan_of(*chunks, placements=(a_video(tmp_path, fill),), num_frames=30), TRAIL)
    shown = clip[np.arange(30) % 20 if fill == "loop" else np.minimum(np.arange(30), 19)]
    wanted = trails(shown)
    assert np.array_equal(pixels_of(plan), np.concatenate([wanted, np.repeat(wanted[-1:], 8, axis=0)]))


def test_it_may_look_far_ahead_and_behind_another(tmp_path, clip):
    plan = plan_of(video_chunk(13, cut=True), video_chunk(7), placements=(a_video(tmp_path),))
    ahead = np.minimum(np.arange(20) + 1, 19)
    assert np.array_equal(pixels_of(processed(plan, AHEAD, TRAIL)), trails(mean(clip, clip[ahead])))
    assert np.array_equal(pixels_of(processed(plan, FAR)), mean(clip, clip[np.minimum(np.arange(20) + 30, 19)]))


def test_chunks_without_video_end_its_stream(tmp_path, clip):
    plan = plan_of(
        video_chunk(9, cut=True), chunk_of(9, None, cut=True), video_chunk(2, cut=True), placements=(a_video(tmp_path),)
    )
    wanted = np.concatenate([trails(clip[:9]), trails(clip[[18, 19]])])
    assert np.array_equal(pixels_of(processed(plan, TRAIL)), wanted)


@pytest.mark.usefixtures("clip")
def test_reading_again_and_backwards_gives_the_same(tmp_path):
    plan = processed(plan_of(*[video_chunk(5)] * 4, placements=(a_video(tmp_path),)), AHEAD, TRAIL)
    forward = pixels_of(plan)
    with InputReader(plan) as reader:
        backward = [reader.read(chunk).pixels for chunk in reversed(plan.chunks)]
    assert np.array_equal(np.concatenate(backward[::-1]), forward)


def test_control_is_processed_and_images_over_it_are_not(tmp_path, clip):
    blocks = floats(4)
    steers = replace(place(tmp_path / "clip.npy", "control", end=24, fill="hold"), processed=True)
    over = place(saved(tmp_path / "over.npy", blocks), first=14, end=18)
    chunks = chunk_of(9, cut=True), chunk_of(12, vace=None), chunk_of(3, vace=replace(VACE, restart_streams=True))
    plan = processed(plan_of(*chunks, placements=(steers, over)), TRAIL, output="vace_frames")
    wanted = trails(clip[np.minimum(np.arange(24), 19)]) / np.float32(127.5) - np.float32(1)
    wanted[14:18] = as_frames(blocks)
    with open_inputs(plan) as inputs:
        first, _, last = (inputs.get().control for _ in chunks)
    assert np.array_equal(first.frames, wanted[:9])
    assert plan.chunks[2].lead == 1 and np.array_equal(last.frames, wanted[20:])


def test_every_frame_passes_once_although_the_reader_steps_back_by_one():
    read: list[int] = []

    def source(frame: int) -> np.ndarray:
        read.append(frame)
        return np.full((SIZE, SIZE, 3), frame, np.uint8)

    stage = Stage("trail", {}, TRAIL.build({}))
    frames = Processed(Chain((stage,)), (SIZE, SIZE), [(0, 40)], source)
    assert [frames.frame(index)[0, 0, 0] for index in (0, 12, 11, 12, 30, 29, 39)] == [0, 1, 1, 1, 1, 1, 1]
    assert read == list(range(40))
