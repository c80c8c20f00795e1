"""Writes the commented job of `scope-batch init`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePath

from scope_batch.core.frame_size import trained_size
from scope_batch.core.geometry import SIZE_STEP
from scope_batch.job.schema import DEFAULT_FPS, DEFAULT_NOISE_SCALE, Job
from scope_batch.pipelines import PIPELINES

PIPELINE = PIPELINES[Job.model_fields["pipeline_id"].default]
SEED = Job.model_fields["seed"].default.at(0)


@dataclass(frozen=True, slots=True)
class Clip:
    """Facts about an input video for the template: path, size in pixels after rotation, and notes.

    frames, fps  as the job reads it. mean_fps: average of a rate that varies; None: the rate is `fps`.
    """

    path: str
    height: int
    width: int
    frames: int
    fps: Fraction
    notes: tuple[str, ...] = ()
    mean_fps: Fraction | None = None


def job_template(clip: Clip | None = None, *, stem: str = "job") -> str:
    """Return the text of a complete job: text to video, or video to video of `clip`. `stem` names the output."""
    head = f"""\
# yaml-language-server: $schema=./scope-batch.schema.json
# `scope-batch plan` shows what this job does, chunk by chunk; `scope-batch render` renders it.
pipeline_id: {PIPELINE.id}
# models: tiny                 # the small built-in model set, or a folder of model files
prompt: a cat walking in the rain
seed: {SEED}
"""
    if clip is not None and PurePath(clip.path).name == f"{stem}.mp4":
        stem = f"{stem}-new"  # the input is never overwritten
    return head + (_text_part() if clip is None else _clip_part(clip)) + _tail(stem)


def _text_part() -> str:
    return f"""\
num_frames: 96                 # exactly this many are delivered
height: {PIPELINE.height}                    # multiples of 16
width: {PIPELINE.width}
fps: {DEFAULT_FPS}
"""


def _clip_part(clip: Clip) -> str:
    height, width = trained_size(clip.height, clip.width, PIPELINE.trained_size)
    path = json.dumps(clip.path, ensure_ascii=False)
    notes = "".join(f"# {note}\n" for note in clip.notes)
    return f"""\
input_path: {path}  # {clip.width}x{clip.height}, {clip.frames} frames, {float(clip.frames / clip.fps):.2f} s
{notes}{_rate_part(clip)}\
num_frames: input              # as long as the clip: {clip.frames} frames
height: {height}                    # {_size_remark(clip, height, width)}
width: {width}
fps: {clip.fps}
# fit: crop                    # crop, pad or stretch
# noise_scale: {DEFAULT_NOISE_SCALE}             # 0 keeps the input, 1 ignores it; unset: from the motion in the clip
# audio: input                 # keep the clip's sound
"""


def _rate_part(clip: Clip) -> str:
    if clip.mean_fps is None:
        return ""
    return f"""\
# The frame rate varies, {float(clip.mean_fps):.4g} a second on average: frames are picked by time, {clip.fps} a second.
input_fps: {clip.fps}
"""


def _size_remark(clip: Clip, height: int, width: int) -> str:
    if abs(clip.height - height) < SIZE_STEP and abs(clip.width - width) < SIZE_STEP:
        return "multiples of 16"
    trained = PIPELINE.trained_size
    return (
        f"the clip's {clip.width}x{clip.height} at about the area that the model was trained on, "
        f"{trained[1]}x{trained[0]}; multiples of 16"
    )


def _tail(stem: str) -> str:
    output = json.dumps(f"{stem}.mp4", ensure_ascii=False)
    return f"""\
# vace_frames: depth.mp4       # control video; also vace_masks, first_frame_image, last_frame_image, vace_ref_images
# chunk_specs:                 # changes during the video; a place is a chunk, a frame or a time
#   - time: 3.0
#     text: a cat jumping
#     transition_num_steps: 4
# sweep: {{seed: [{SEED}, {SEED + 1000}]}}  # several renders, one of each combination of values
output: {output}
"""
