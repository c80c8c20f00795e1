"""Control, masks, images and LoRAs through whole renders of the tiny set: they act where they should, no further."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from scope_batch.engine.vae_stream import EncoderStream
from scope_batch.events import ChunkStarted, Loading
from scope_batch.pipelines import PIPELINES
from scope_batch.render.options import RenderOptions
from tests.render.helpers import TINY, Renderer, plan_of

SIZE, FRAMES = 64, 21
QUICK = TINY | {"vae_type": "tae", "denoising_steps": [1000, 500]}
"""For renders that are only compared with each other, bit by bit."""
Floats = NDArray[np.float32]


def moving_square(frames: int = FRAMES) -> Floats:
    """[1, 3, T, H, W] in -1..1: a bright square that crosses a dark picture."""
    video = np.full((1, 3, frames, SIZE, SIZE), -1, np.float32)
    for t in range(frames):
        left = 2 + t * (SIZE - 20) // frames
        video[0, :, t, 20:40, left : left + 16] = 1
    return video


def half_mask(frames: int = FRAMES) -> Floats:
    """[1, 1, T, H, W]: the left half is kept, the right half generated."""
    mask = np.zeros((1, 1, frames, SIZE, SIZE), np.float32)
    mask[..., SIZE // 2 :] = 1
    return mask


@pytest.fixture
def control(tmp_path: Path) -> Path:
    np.save(tmp_path / "control.npy", moving_square())
    return tmp_path / "control.npy"


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    np.save(tmp_path / "mask.npy", half_mask())
    return tmp_path / "mask.npy"


@pytest.fixture
def red(tmp_path: Path) -> Path:
    Image.new("RGB", (SIZE, SIZE), (220, 20, 20)).save(tmp_path / "red.png")
    return tmp_path / "red.png"


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    """Strong enough to be seen, on every module of the first block's attention."""
    generator = torch.Generator().manual_seed(3)
    names = [f"diffusion_model.blocks.{b}.{a}.{m}" for b in (0, 2) for a in ("self_attn", "cross_attn") for m in "qkvo"]
    pairs = {f"{name}.lora_{h}.weight": torch.randn(s, generator=generator) for name in names for h, s in HALVES}
    save_file(pairs, tmp_path / "dissolve.safetensors")
    return tmp_path / "dissolve.safetensors"


HALVES = (("A", (4, 256)), ("B", (256, 4)))


def test_a_chunk_is_steered_and_those_before_it_are_not(tiny: Renderer, control: Path) -> None:
    np.save(control, moving_square(12))
    plain = tiny.frames(TINY, num_frames=FRAMES)
    steered = tiny.frames(TINY, num_frames=FRAMES, chunk_specs=[{"chunk": 1, "vace_frames": str(control)}])
    assert np.array_equal(plain[:9], steered[:9]) and not np.array_equal(plain[9:], steered[9:])


def test_control_then_none_then_control_again(tiny: Renderer, control: Path) -> None:
    """Each render is the same after the other: nothing of VACE lingers."""
    plain = tiny.npy(QUICK, num_frames=9)
    steered = tiny.npy(QUICK, num_frames=9, vace_frames=str(control))
    assert tiny.npy(QUICK, num_frames=9) == plain != steered
    assert tiny.npy(QUICK, num_frames=9, vace_frames=str(control)) == steered


def test_blob_path_and_safetensors_give_the_same_video(
    tiny: Renderer, tmp_path: Path, control: Path, mask: Path
) -> None:
    (tmp_path / "blob").write_bytes(moving_square().tobytes() + half_mask().tobytes())
    save_file({"frames": torch.from_numpy(moving_square())}, tmp_path / "control.safetensors")
    save_file({"masks": torch.from_numpy(half_mask())}, tmp_path / "mask.safetensors")
    entry = {
        "chunk": 0,
        "vace_frames_offset": 0,
        "vace_frames_shape": [1, 3, FRAMES, SIZE, SIZE],
        "vace_masks_offset": moving_square().nbytes,
        "vace_masks_shape": [1, 1, FRAMES, SIZE, SIZE],
    }
    by_path = tiny.npy(QUICK, num_frames=FRAMES, vace_frames=str(control), vace_masks=str(mask))
    stored = {"vace_frames": str(tmp_path / "control.safetensors"), "vace_masks": str(tmp_path / "mask.safetensors")}
    assert tiny.npy(QUICK, num_frames=FRAMES, **stored) == by_path
    blob = {"data_blob_path": str(tmp_path / "blob"), "chunk_specs": [entry]}
    assert tiny.npy(QUICK, num_frames=FRAMES, chunk_grid=12, **blob) == by_path


def test_the_protocols_arrays_per_slot_are_one_timeline(tiny: Renderer, tmp_path: Path, control: Path) -> None:
    """Entry k of the protocol covers frames 12k .. 12k + 11, whatever the true chunks are."""
    frames = moving_square(24)
    np.save(control, frames)
    parts = [np.ascontiguousarray(frames[:, :, 12 * k : 12 * k + 12]) for k in range(2)]
    (tmp_path / "blob").write_bytes(b"".join(part.tobytes() for part in parts))
    specs = [
        {"chunk": k, "vace_frames_offset": k * parts[0].nbytes, "vace_frames_shape": list(parts[0].shape)}
        for k in range(2)
    ]
    blob = {"data_blob_path": str(tmp_path / "blob"), "chunk_grid": 12, "chunk_specs": specs}
    assert tiny.npy(QUICK, num_frames=24, **blob) == tiny.npy(QUICK, num_frames=24, vace_frames=str(control))


def test_a_mask_alone_steers(tiny: Renderer, mask: Path) -> None:
    assert tiny.npy(TINY, num_frames=9, vace_masks=str(mask), vace_length="end") != tiny.npy(TINY, num_frames=9)


def test_the_input_video_may_steer_through_vace(tiny: Renderer, clip: Path) -> None:
    output = tiny.npy(TINY, num_frames=9, input_path=str(clip), vace_use_input_video=True)
    assert output == tiny.npy(TINY, num_frames=9, vace_frames=str(clip))
    assert output != tiny.npy(TINY, num_frames=9, input_path=str(clip))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Frames of every call of an encoder stream from here on."""
    calls: list[int] = []
    encode = EncoderStream.encode

    def counted(self: EncoderStream, pixels: torch.Tensor, *args: Any) -> torch.Tensor:
        calls.append(pixels.shape[2])
        return encode(self, pixels, *args)

    monkeypatch.setattr(EncoderStream, "encode", counted)
    yield calls


def test_vace_costs_nothing_where_nothing_steers(tiny: Renderer, control: Path, encoded: list[int]) -> None:
    np.save(control, moving_square(9))
    tiny(QUICK, "a.npy", num_frames=FRAMES, vace_frames=str(control), vace_length="end")
    assert max(encoded) <= 9
    encoded.clear()
    tiny(QUICK, "b.npy", num_frames=FRAMES)
    assert encoded == []


def test_one_pair_of_encodes_per_steered_chunk(tiny: Renderer, control: Path, mask: Path, encoded: list[int]) -> None:
    tiny(TINY, "a.npy", num_frames=FRAMES, vace_frames=str(control), vace_masks=str(mask))
    assert encoded == [9, 9, 12, 12]


@pytest.mark.parametrize("frames", [64, 96, 100])
def test_the_last_image_is_on_the_last_delivered_frame(red: Path, frames: int) -> None:
    plan = plan_of(TINY, num_frames=frames, last_frame_image=str(red))
    last = plan.chunks[-1]
    assert last.vace is not None and [still.path for still in last.vace.stills] == [red]
    still = last.vace.stills[0]
    assert still.first <= last.keep - 1 < still.end == last.frames
    assert all(chunk.vace is None for chunk in plan.chunks[:-1])


def test_a_last_image_is_seen_in_the_last_frame(tiny: Renderer, red: Path) -> None:
    plain = tiny.frames(TINY, num_frames=21)[-1].astype(int)
    steered = tiny.frames(TINY, num_frames=21, last_frame_image=str(red))[-1].astype(int)
    target = np.array((220, 20, 20))
    assert np.abs(steered - target).mean() < np.abs(plain - target).mean()


RAMP = [0.0, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0, 1.0]


def test_a_ramp_neither_cuts_nor_loads_again(tiny: Renderer, lora: Path) -> None:
    plan = plan_of(TINY, num_frames=93, lora_scales={str(lora): RAMP})
    assert [chunk.cut for chunk in plan.chunks] == [True] + [False] * 7
    assert [chunk.lora_scales for chunk in plan.chunks] == [(scale,) for scale in RAMP]
    assert [chunk.lora_changed for chunk in plan.chunks] == [
        False,
        *(a != b for a, b in itertools.pairwise(RAMP)),
    ]
    tiny(QUICK, "a.npy", num_frames=21, lora_scales={str(lora): RAMP})
    begun = next(i for i, event in enumerate(tiny.events) if isinstance(event, ChunkStarted))
    assert not [event for event in tiny.events[begun:] if isinstance(event, Loading)]


def test_a_ramp_begins_as_the_video_without_it(tiny: Renderer, lora: Path) -> None:
    plain = tiny.frames(QUICK, num_frames=FRAMES)
    ramped = tiny.frames(QUICK, num_frames=FRAMES, lora_scales={str(lora): [0, 1]})
    assert np.array_equal(plain[:9], ramped[:9]) and not np.array_equal(plain[9:], ramped[9:])


def test_with_without_and_with_a_lora_again(tiny: Renderer, lora: Path) -> None:
    plain = tiny.npy(QUICK, num_frames=9)
    merged = tiny.npy(QUICK, num_frames=9, lora_scales={str(lora): 0.8})
    assert tiny.npy(QUICK, num_frames=9) == plain != merged
    assert tiny.npy(QUICK, num_frames=9, lora_scales={str(lora): 0.8}) == merged
    assert tiny.npy(QUICK, num_frames=9, lora_scales={str(lora): 0.0}) == plain


def test_merged_and_beside_the_weights_look_alike(tiny: Renderer, lora: Path) -> None:
    merged = tiny.frames(TINY, num_frames=9, lora_scales={str(lora): 0.8}).astype(int)
    beside = tiny.frames(TINY, num_frames=9, lora_scales={str(lora): 0.8}, lora_merge="never").astype(int)
    assert np.abs(merged - beside).max() <= 1


def test_steering_in_bfloat16(tiny: Renderer, control: Path, red: Path, lora: Path) -> None:
    """Streams, contexts, hints and side branches take their layers' formats, and mean the same in them."""
    entries = [{"chunk": 0, "vace_ref_images": [str(red)]}, {"chunk": 1, "last_frame_image": str(red)}]
    steering = {"vace_frames": str(control), "lora_scales": {str(lora): [0, 0.02]}, "chunk_specs": entries}
    exact, rounded = (
        tiny.frames(TINY, options=RenderOptions(dtype=dtype), num_frames=FRAMES, **steering).astype(int)
        for dtype in ("float32", "bfloat16")
    )
    assert np.abs(exact - rounded).mean() < 3


def test_an_expression_and_its_numbers_give_the_same_video(lora: Path) -> None:
    listed = plan_of(TINY, num_frames=33, lora_scales={str(lora): [0.0, 0.5, 1.0]})
    keyed = plan_of(TINY, num_frames=33, lora_scales={str(lora): {0: 0, 30: 1}})
    spelled = plan_of(TINY, num_frames=33, lora_scales={str(lora): "0:(chunk / 2)"})
    assert listed.chunks == keyed.chunks == spelled.chunks


@pytest.mark.parametrize("pipeline", [spec.id for spec in PIPELINES.values() if spec.vace and spec.needs_models][1:])
def test_every_pipeline_is_steered_by_control_and_loras(
    tiny: Renderer, control: Path, red: Path, lora: Path, pipeline: str
) -> None:
    """From the chunk on that an entry names, all of it at once."""
    fields: dict[str, Any] = {"pipeline_id": pipeline, "num_frames": FRAMES, "denoising_steps": [1000]}
    named = {"frame": 9, "vace_frames": str(control), "vace_ref_images": [str(red)], "lora_scales": {str(lora): 0.8}}
    np.save(control, moving_square(4))
    plain = tiny.frames(TINY, **fields)
    scaled = tiny.frames(TINY, **fields, vace_context_scale=0.9, chunk_specs=[named])
    assert np.array_equal(plain[:5], scaled[:5]) and not np.array_equal(plain[9:], scaled[9:])
