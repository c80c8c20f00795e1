"""What steers a parity case through VACE: the calls' arrays and images as our plan and our inputs have them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from scope_batch.core import geometry
from scope_batch.core.frames import ChunkInputs, ControlFrames
from scope_batch.core.plan import Chunk, Still, Vace

IMAGES = Path(__file__).parent / "cases" / "images"


def vace_of(call: Mapping[str, Any], *, restart_streams: bool) -> Vace | None:
    """The plan's part; of images over the frames only the first one, which is where the reference lays it."""
    timeline = "vace_frames" in call
    first, references = call.get("first_frame_image"), call.get("vace_reference_images")
    if not (timeline or first or references):
        return None
    return Vace(
        scale=call.get("vace_scale", 1.0),
        timeline=timeline,
        stills=(Still(IMAGES / first, 0, geometry.VACE_STILL_FRAMES),) if first else (),
        reference=IMAGES / references[0] if references else None,
        restart_streams=restart_streams,
    )


def inputs_of(call: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], chunk: Chunk) -> ChunkInputs:
    """Control frames and reference of a chunk."""
    vace = chunk.vace
    if vace is None:
        return ChunkInputs()
    height, width = (geometry.SPACE_STRIDE * n for n in arrays[f"latents_{chunk.index:02d}"].shape[-2:])
    reference = picture(vace.reference, height, width) if vace.reference else None
    return ChunkInputs(reference=reference, control=control_of(call, arrays, vace, (chunk.frames, height, width)))


def control_of(
    call: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], vace: Vace, shape: tuple[int, int, int]
) -> ControlFrames | None:
    if not vace.has_frames:
        return None
    frames, masks = np.zeros((*shape, 3), np.float32), np.ones(shape, np.float32)
    if "vace_frames" in call:
        frames[:] = window(call["vace_frames"], arrays) / np.float32(127.5) - 1
    if "vace_masks" in call:
        masks[:] = window(call["vace_masks"], arrays) / np.float32(255)
    for still in vace.stills:
        frames[still.first : still.end] = picture(still.path, *shape[1:])
        masks[still.first : still.end] = 0
    replaced = masks > 0.5
    return ControlFrames(
        frames, masks, inactive_is_gray=not frames[~replaced].any(), reactive_is_gray=not frames[replaced].any()
    )


def window(asked: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    return arrays[asked["array"]][asked["start"] : asked["stop"]].astype(np.float32)


def picture(path: Path, height: int, width: int) -> NDArray[np.float32]:
    """float32 [height, width, 3] in -1..1, as the reference fits it: cover, bilinear without antialias, centre crop."""
    with Image.open(path) as opened:
        plane = torch.from_numpy(np.asarray(opened.convert("RGB")).astype(np.float32) / 127.5 - 1).permute(2, 0, 1)
    scale = max(height / plane.shape[1], width / plane.shape[2])
    size = (int(plane.shape[1] * scale), int(plane.shape[2] * scale))
    if size != tuple(plane.shape[1:]):
        plane = torch.nn.functional.interpolate(plane[None], size, mode="bilinear", align_corners=False)[0]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return plane[:, top : top + height, left : left + width].permute(1, 2, 0).contiguous().numpy()
