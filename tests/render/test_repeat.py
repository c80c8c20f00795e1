"""The same job gives the same bytes, whatever happened before, and a change reaches back to nothing before it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from torch import Tensor

from scope_batch.engine.vae_stream import DecoderStream
from scope_batch.errors import Interrupted
from scope_batch.render.options import RenderOptions
from tests.render.helpers import (
    ONE_THREAD,
    PROGRAM,
    SLATE,
    TINY,
    Renderer,
    StopAt,
    decode,
    load_frames,
    plan_of,
    write_job,
)

SWITCH = {"num_frames": 27, "chunk_specs": [{"chunk": 2, "text": "a dog", "transition_num_steps": 2}]}
FIRST_OF_CHUNK_2 = 21


def test_twice(tiny: Renderer) -> None:
    assert tiny.npy(TINY, **SWITCH) == tiny.npy(TINY, **SWITCH)


def test_another_seed_is_another_video(tiny: Renderer) -> None:
    assert tiny.npy(TINY, num_frames=9) != tiny.npy(TINY, num_frames=9, seed=43)


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "a field of rye", "num_frames": 21},
        {"height": 96, "width": 80, "num_frames": 21},
        {"video": True, "num_frames": 25, "noise_scale": [0.4, 0.9]},
        {"num_frames": 30, "chunk_specs": [{"chunk": 1, "reset_cache": True}, {"chunk": 2, "text": "b"}]},
    ],
    ids=["prompt", "size", "mode", "cuts"],
)
@pytest.mark.parametrize("mode", ["text", "video"])
def test_after_another_job(tiny: Renderer, clip: Path, other: dict[str, object], mode: str) -> None:
    fields = {**SWITCH, **({"input_path": str(clip)} if mode == "video" else {})}
    alone = tiny.npy(TINY, **fields)
    other = dict(other)
    if other.pop("video", False):
        other["input_path"] = str(clip)
    tiny(TINY, "other.npy", **other)
    assert tiny.npy(TINY, **fields) == alone


class Broken(Exception):
    pass


@pytest.mark.parametrize("error", [Interrupted(2), Interrupted(2, now=True), Broken()], ids=["signal", "now", "bug"])
def test_after_a_job_that_ended_midway(tiny: Renderer, clip: Path, error: Exception) -> None:
    alone = tiny.npy(TINY, **SWITCH)
    with pytest.raises(type(error)):
        tiny(TINY, "other.npy", stop=StopAt(2, error), input_path=str(clip), num_frames=60)
    assert tiny.npy(TINY, **SWITCH) == alone


def test_after_a_job_that_broke_inside_a_chunk(tiny: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = tiny.npy(TINY, **SWITCH)
    with monkeypatch.context() as patch:
        patch.setattr(DecoderStream, "decode", lambda *_: (_ for _ in ()).throw(Broken))
        with pytest.raises(Broken):
            tiny(TINY, "other.npy", num_frames=60, prompt="a bug")
    assert tiny.npy(TINY, **SWITCH) == alone


@pytest.mark.slow
def test_in_a_fresh_process(tiny: Renderer) -> None:
    here = tiny.npy(TINY, **SWITCH)
    job = write_job(tiny.folder / "job.yaml", TINY, **SWITCH)
    command = [*PROGRAM, "render", str(job), "-o", "there.npy", "--deterministic", "-q"]
    subprocess.run(command, cwd=tiny.folder, env=ONE_THREAD, check=True)
    assert (tiny.folder / "there.npy").read_bytes() == here


@pytest.mark.parametrize("mode", ["text", "video"])
@pytest.mark.parametrize(
    "change",
    [
        {"text": "a dog"},
        {"prompts": [{"text": "a dog"}, {"text": "a cat"}]},
        {"seed": 9000},
        {"denoising_steps": [1000, 500]},
        {"reset_cache": True, "seed": 9},
    ],
    ids=["text", "blend", "seed", "steps", "reset"],
)
def test_a_change_leaves_earlier_chunks_alone(tiny: Renderer, clip: Path, mode: str, change: dict[str, object]) -> None:
    fields = {"num_frames": 28, **({"input_path": str(clip)} if mode == "video" else {})}
    first = 25 if mode == "video" else FIRST_OF_CHUNK_2
    plain = tiny.frames(TINY, **fields)
    changed = tiny.frames(TINY, chunk_specs=[{"chunk": 2, **change}], **fields)
    assert np.array_equal(plain[:first], changed[:first])
    assert not np.array_equal(plain[first : first + 3], changed[first : first + 3])


def test_a_new_prompt_is_heard(tiny: Renderer) -> None:
    """More than by the recache that comes with it: the text itself reaches the frames."""
    dog, rye = (
        tiny.frames(TINY, num_frames=21, chunk_specs=[{"chunk": 1, "text": text}]).astype(float)
        for text in ("a dog", "a field of rye")
    )
    assert abs(dog[9:] - rye[9:]).mean() > 1


@pytest.mark.parametrize("mode", ["text", "video"])
def test_after_a_reset_earlier_chunks_have_no_influence(tiny: Renderer, mode: str) -> None:
    """The frames from there on are those of a job that begins there."""
    # Wild, then calm: what the noise controller has seen before must not count any more.
    swing = np.where(np.arange(60) < 13, 120, 6)[:, None, None, None]
    input_frames = (128 + swing * np.random.default_rng(0).uniform(-1, 1, (60, 64, 64, 3))).astype(np.uint8)
    first = 13 if mode == "video" else 9
    np.save(tiny.folder / "whole.npy", input_frames)
    np.save(tiny.folder / "rest.npy", input_frames[first:])
    whole, rest = (
        {"input_path": str(tiny.folder / f"{name}.npy")} if mode == "video" else {} for name in ("whole", "rest")
    )
    reset = [{"chunk": 1, "reset_cache": True, "seed": 7000}, {"chunk": 2, "seed": 7000}]
    both = tiny.frames(TINY, num_frames=first + 20, chunk_specs=reset, **whole)
    alone = tiny.frames(TINY, num_frames=20, seed=7000, **rest)
    assert np.array_equal(both[first:], alone)


def test_a_longer_job_begins_with_the_shorter_one(tiny: Renderer) -> None:
    assert np.array_equal(tiny.frames(TINY, num_frames=47)[:23], tiny.frames(TINY, num_frames=23))


def test_latents(tiny: Renderer) -> None:
    job = {"num_frames": 30, "chunk_specs": [{"chunk": 2, "reset_cache": True}]}
    path = tiny.folder / "l.safetensors"
    tiny(TINY, "out.npy", options=RenderOptions(latents=path), **job)
    chunks = plan_of(TINY, **job).chunks
    with safe_open(path, "np") as file:
        metadata = {key: json.loads(file.metadata()[key]) for key in ("first_frame", "keep", "cut")}
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    assert shapes == {f"chunk_{chunk.index:05d}": (chunk.latents, 16, 8, 8) for chunk in chunks}
    assert metadata == {
        "first_frame": [0, 9, 21],
        "keep": [9, 12, 9],
        "cut": [chunks[0].cut_reason, None, chunks[2].cut_reason],
    }
    assert {tensor.dtype for tensor in load_file(path).values()} == {np.dtype(np.float32)}


def test_latents_are_those_before_decoding(tiny: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what the decoder makes of them nor the trimming reaches them."""
    plain, trimmed, black = (tiny.folder / f"{name}.safetensors" for name in ("plain", "trimmed", "black"))
    tiny(TINY, "out.npy", options=RenderOptions(latents=plain), num_frames=21)
    tiny(TINY, "out.npy", options=RenderOptions(latents=trimmed), num_frames=10)
    decoded = DecoderStream.decode

    def all_black(self: DecoderStream, latents: Tensor) -> tuple[Tensor, Tensor]:
        frames, finite = decoded(self, latents)
        return frames.zero_(), finite

    monkeypatch.setattr(DecoderStream, "decode", all_black)
    tiny(TINY, "out.npy", options=RenderOptions(latents=black), num_frames=21)
    assert not load_frames(tiny.folder / "out.npy").any()
    wanted = load_file(plain)
    for path in (trimmed, black):
        assert all(np.array_equal(tensor, wanted[key]) for key, tensor in load_file(path).items())


def test_array_and_lossless_video_agree_to_the_bit(tiny: Renderer) -> None:
    tiny(TINY, "out.npy", "out.mkv", num_frames=21, video={"codec": "ffv1"})
    assert np.array_equal(decode(tiny.folder / "out.mkv"), load_frames(tiny.folder / "out.npy"))


def test_every_format_in_one_pass(slate: Renderer) -> None:
    names = ["out.npy", "out.nut", "pictures/%03d.png", "out.mp4"]
    done = slate(SLATE, *names, num_frames=21)
    frames = load_frames(slate.folder / "out.npy")
    assert np.array_equal(decode(slate.folder / "out.nut"), frames)
    assert len(list((slate.folder / "pictures").iterdir())) == 21
    near = decode(slate.folder / "out.mp4").astype(int) - frames
    assert abs(near).mean() < 6
    assert [Path(file.path).name for file in done.outputs] == ["out.npy", "out.nut", "%03d.png", "out.mp4"]
