"""The same job gives the same bytes, whatever happened before, and a change reaches back to nothing before it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from torch import Tensor

from scope_batch.engine.vae_stream import DecoderStream
from scope_batch.errors import Interrupted
from scope_batch.render.engine_pool import Engines
from scope_batch.render.options import RenderOptions
from tests.render.helpers import (
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
TEXT = TINY | {"vae_type": "tae"}
"""Jobs of text use the small decoder, jobs in video mode the encoder and the decoder of Wan."""
FirstRender = Callable[..., Path]


@pytest.fixture(scope="module")
def first_render(tmp_path_factory: pytest.TempPathFactory, tiny_engines: Engines) -> FirstRender:
    """Return the NPY of a job's first render in this module."""
    render = Renderer(tmp_path_factory.mktemp("first"), tiny_engines)
    names: dict[str, str] = {}

    def path_of(base: dict[str, Any], **fields: Any) -> Path:
        key = json.dumps(base | fields)
        if key not in names:
            names[key] = f"{len(names)}.npy"
            render(base, names[key], **fields)
        return render.folder / names[key]

    return path_of


def job_in(mode: str, clip: Path, **fields: Any) -> dict[str, Any]:
    return TEXT | fields if mode == "text" else TINY | {"input_path": str(clip)} | fields


def test_twice(tiny: Renderer) -> None:
    assert tiny.npy(TINY, **SWITCH) == tiny.npy(TINY, **SWITCH)


def test_another_seed_is_another_video(tiny: Renderer) -> None:
    assert tiny.npy(TEXT, num_frames=9) != tiny.npy(TEXT, num_frames=9, seed=43)


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
def test_after_another_job(
    tiny: Renderer, first_render: FirstRender, clip: Path, other: dict[str, object], mode: str
) -> None:
    job = job_in(mode, clip, **SWITCH)
    alone = first_render(job).read_bytes()
    other = dict(other)
    if other.pop("video", False):
        other["input_path"] = str(clip)
    tiny(job_in(mode, clip), "other.npy", **other)
    assert tiny.npy(job) == alone


class Broken(Exception):
    pass


@pytest.mark.parametrize("error", [Interrupted(2), Interrupted(2, now=True), Broken()], ids=["signal", "now", "bug"])
def test_after_a_job_that_ended_midway(tiny: Renderer, first_render: FirstRender, clip: Path, error: Exception) -> None:
    alone = first_render(TINY, **SWITCH).read_bytes()
    with pytest.raises(type(error)):
        tiny(TINY, "other.npy", stop=StopAt(2, error), input_path=str(clip), num_frames=60)
    assert tiny.npy(TINY, **SWITCH) == alone


def test_after_a_job_that_broke_inside_a_chunk(
    tiny: Renderer, first_render: FirstRender, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = first_render(TINY, **SWITCH).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(DecoderStream, "decode", lambda *_: (_ for _ in ()).throw(Broken))
        with pytest.raises(Broken):
            tiny(TINY, "other.npy", num_frames=60, prompt="a bug")
    assert tiny.npy(TINY, **SWITCH) == alone


@pytest.mark.slow
def test_in_a_fresh_process(tiny: Renderer, first_render: FirstRender) -> None:
    here = first_render(TINY, **SWITCH).read_bytes()
    job = write_job(tiny.folder / "job.yaml", TINY, **SWITCH)
    command = [*PROGRAM, "render", str(job), "-o", "there.npy", "--deterministic", "-q"]
    subprocess.run(command, cwd=tiny.folder, check=True)
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
def test_a_change_leaves_earlier_chunks_alone(
    tiny: Renderer, first_render: FirstRender, clip: Path, mode: str, change: dict[str, object]
) -> None:
    job = job_in(mode, clip, num_frames=28)
    first = 25 if mode == "video" else FIRST_OF_CHUNK_2
    plain = load_frames(first_render(job))
    changed = tiny.frames(job, chunk_specs=[{"chunk": 2, **change}])
    assert np.array_equal(plain[:first], changed[:first])
    assert not np.array_equal(plain[first : first + 3], changed[first : first + 3])


def test_a_new_prompt_is_heard(tiny: Renderer) -> None:
    """More than by the recache that comes with it: the text itself reaches the frames."""
    dog, rye = (
        tiny.frames(TEXT, num_frames=21, chunk_specs=[{"chunk": 1, "text": text}]).astype(float)
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
    whole, rest = (job_in(mode, tiny.folder / f"{name}.npy") for name in ("whole", "rest"))
    reset = [{"chunk": 1, "reset_cache": True, "seed": 7000}, {"chunk": 2, "seed": 7000}]
    both = tiny.frames(whole, num_frames=first + 20, chunk_specs=reset)
    alone = tiny.frames(rest, num_frames=20, seed=7000)
    assert np.array_equal(both[first:], alone)


def test_a_longer_job_begins_with_the_shorter_one(tiny: Renderer) -> None:
    assert np.array_equal(tiny.frames(TEXT, num_frames=47)[:23], tiny.frames(TEXT, num_frames=23))


def test_latents(tiny: Renderer) -> None:
    job = {"num_frames": 30, "chunk_specs": [{"chunk": 2, "reset_cache": True}]}
    path = tiny.folder / "l.safetensors"
    tiny(TEXT, "out.npy", options=RenderOptions(latents=path), **job)
    chunks = plan_of(TEXT, **job).chunks
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
    tiny(TEXT, "out.npy", options=RenderOptions(latents=plain), num_frames=21)
    tiny(TEXT, "out.npy", options=RenderOptions(latents=trimmed), num_frames=10)
    decoded = DecoderStream.decode

    def all_black(self: DecoderStream, latents: Tensor) -> tuple[Tensor, Tensor]:
        frames, finite = decoded(self, latents)
        return frames.zero_(), finite

    monkeypatch.setattr(DecoderStream, "decode", all_black)
    tiny(TEXT, "out.npy", options=RenderOptions(latents=black), num_frames=21)
    assert not load_frames(tiny.folder / "out.npy").any()
    wanted = load_file(plain)
    for path in (trimmed, black):
        assert all(np.array_equal(tensor, wanted[key]) for key, tensor in load_file(path).items())


def test_array_and_lossless_video_agree_to_the_bit(tiny: Renderer) -> None:
    tiny(TEXT, "out.npy", "out.mkv", num_frames=21, video={"codec": "ffv1"})
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
