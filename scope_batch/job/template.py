"""The commented job that `scope-batch init` writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction

from scope_batch.laws import SIZE_STEP

MAX_SIDE, MIN_SIDE = 2048, 64


@dataclass(frozen=True, slots=True)
class Clip:
    """What the template needs to know of an input video: size in pixels after rotation, frames, frames per second, and
    what was found in it."""

    path: str
    height: int
    width: int
    frames: int
    fps: Fraction
    notes: tuple[str, ...] = ()


def job_template(clip: Clip | None = None, *, stem: str = "job") -> str:
    """A job file that renders as it stands: text to video, or video to video of `clip`. `stem` names the output."""
    head = """\
# yaml-language-server: $schema=./scope-batch.schema.json
# `scope-batch plan` shows what this job does, chunk by chunk; `scope-batch render` does it.
pipeline_id: longlive
# models: tiny                 # the small built-in model set, or a folder of model files
prompt: a cat walking in the rain
seed: 42
"""
    return head + (_text_part() if clip is None else _clip_part(clip)) + _tail(stem)


def _text_part() -> str:
    return """\
num_frames: 96                 # exactly as many are delivered
height: 320                    # multiples of 16
width: 576
fps: 16
"""


def _clip_part(clip: Clip) -> str:
    height, width = fitted_size(clip.height, clip.width)
    path = json.dumps(clip.path, ensure_ascii=False)
    notes = "".join(f"# {note}\n" for note in clip.notes)
    return f"""\
input_path: {path}  # {clip.width}x{clip.height}, {clip.frames} frames, {float(clip.frames / clip.fps):.2f} s
{notes}\
num_frames: input              # as long as the clip: {clip.frames} frames
height: {height}                    # multiples of 16
width: {width}
fps: {clip.fps}
# fit: crop                    # crop, pad or stretch
# noise_scale: 0.7             # 0 keeps the input, 1 ignores it; without it the motion in the clip decides
# audio: input                 # keep the clip's sound
"""


def _tail(stem: str) -> str:
    output = json.dumps(f"{stem}.mp4", ensure_ascii=False)
    return f"""\
# vace_frames: depth.mp4       # control video; also vace_masks, first_frame_image, last_frame_image, vace_ref_images
# chunk_specs:                 # what changes on the way; a place is a chunk, a frame or a time
#   - time: 3.0
#     text: a cat jumping
#     transition_num_steps: 4
output: {output}
"""


def fitted_size(height: int, width: int) -> tuple[int, int]:
    """The nearest size that a pipeline takes: multiples of 16 in 64..2048, proportions kept as far as they allow."""
    scale = min(1.0, MAX_SIDE / max(height, width))
    scale = max(scale, min(MIN_SIDE / min(height, width), MAX_SIDE / max(height, width)))
    return _step(height * scale), _step(width * scale)


def _step(pixels: float) -> int:
    return min(max(round(pixels / SIZE_STEP) * SIZE_STEP, MIN_SIDE), MAX_SIDE)
