"""Checks a job's input and its planned chunks as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.core import geometry
from scope_batch.core.plan import Chunk, ClipFacts
from scope_batch.core.timeline import ClipSource
from scope_batch.plan.cuts import check_cuts, check_opening_noise
from scope_batch.plan.diagnostics import Diagnostics, counted, name_chunks, place
from scope_batch.plan.entries import Entry
from scope_batch.plan.idle import same_shape
from scope_batch.plan.material_fields import ClipField, Facts, all_clip_fields
from scope_batch.plan.settings import Settings
from scope_batch.plan.view.text import rate

if TYPE_CHECKING:
    from scope_batch.job import Job


def check_clip(job: Job, settings: Settings, clip: ClipFacts | None, diagnostics: Diagnostics) -> None:
    if clip is None:
        return
    assert job.input_path is not None
    diagnostics.notes += [f"{job.input_path.name}: {note}" for note in clip.notes]
    diagnostics.warnings += [f"{job.input_path.name}: {warning}" for warning in clip.warnings]
    _check_length(job, settings, clip, diagnostics)
    _check_shape(job, settings, clip, diagnostics)
    _check_sound(job, clip, diagnostics)
    if settings.fps != clip.fps:
        pace = "faster" if settings.fps > clip.fps else "slower"
        diagnostics.notes.append(
            f"fps: the input has {rate(clip.fps)}, the output {rate(settings.fps)}: it plays {pace}"
        )


def check_entry_clips(entries: Iterable[Entry], settings: Settings, facts: Facts, diagnostics: Diagnostics) -> None:
    """Note input videos of entries that play at another speed: their frames are used one by one."""
    clip_fields = [entry.clip_fields["input_video"] for entry in entries if "input_video" in entry.clip_fields]
    groups: dict[Fraction, list[ClipField]] = {}
    for clip_field in clip_fields:
        timing = facts[clip_field.source].timing
        if timing is not None and timing.mean_fps != settings.fps:
            groups.setdefault(timing.mean_fps, []).append(clip_field)
    for fps, group in groups.items():
        pace = "faster" if settings.fps > fps else "slower"
        more = f" (and {counted(len(group) - 1, 'more clip')})" if len(group) > 1 else ""
        diagnostics.notes.append(
            f"{group[0].label}{more} has {rate(fps)} fps, the output {rate(settings.fps)}: it plays {pace}"
        )


def _check_length(job: Job, settings: Settings, clip: ClipFacts, diagnostics: Diagnostics) -> None:
    frames = settings.num_frames
    if clip.frames >= frames:
        if clip.frames > frames:
            diagnostics.notes.append(f"the input has {clip.frames} frames, the first {frames} are used")
        return
    length = f"the input has {counted(clip.frames, 'frame')}, the job asks for {frames}"
    if job.input_length == "error":
        diagnostics.problems.append(
            f"{place(job, 'input_length')}: {length} (num_frames: input takes its length; loop and hold extend it)"
        )
        return
    how = "it starts over" if job.input_length == "loop" else "its last frame is held"
    diagnostics.warnings.append(f"{length}: {how} from frame {clip.frames} on (input_length: {job.input_length})")


def note_shapes_of_control(job: Job, settings: Settings, facts: Facts, diagnostics: Diagnostics) -> None:
    """Note control of another shape than the output. Arrays are never resized, images always fill the picture."""
    first: dict[ClipSource, ClipField] = {}
    for clip_field in all_clip_fields(job):
        first.setdefault(clip_field.source, clip_field)
    sized = [(clip_field, facts[clip_field.source]) for clip_field in first.values()]
    other = [
        clip_field for clip_field, fact in sized if not fact.exact and not same_shape(fact.width, fact.height, settings)
    ]
    if other:
        fact = facts[other[0].source]
        more = f" (and {counted(len(other) - 1, 'more file')})" if len(other) > 1 else ""
        diagnostics.notes.append(_other_shape(job, settings, f"{other[0].label}{more}:", fact.width, fact.height))


def _check_shape(job: Job, settings: Settings, clip: ClipFacts, diagnostics: Diagnostics) -> None:
    if not same_shape(clip.width, clip.height, settings):
        diagnostics.notes.append(_other_shape(job, settings, "the input's", clip.width, clip.height))


def _other_shape(job: Job, settings: Settings, whose: str, width: int, height: int) -> str:
    effects = {
        "crop": "the edges that stick out are cut off",
        "pad": "bars fill the rest",
        "stretch": "it is distorted",
    }
    output = f"{settings.width}x{settings.height}"
    return f"fit: {job.fit}: {whose} {width}x{height} has another shape than the output's {output}: {effects[job.fit]}"


def _check_sound(job: Job, clip: ClipFacts, diagnostics: Diagnostics) -> None:
    if job.audio == "input" and not clip.has_audio:
        diagnostics.problems.append(f"{place(job, 'audio')}: the input has no sound; allowed: none or a file")
    if job.audio == "none" and clip.has_audio:
        diagnostics.notes.append("the input's sound is dropped (audio: input keeps it)")


def check_chunks(job: Job, chunks: Sequence[Chunk], settings: Settings, diagnostics: Diagnostics) -> None:
    check_cuts(chunks, job.cuts, diagnostics)
    check_opening_noise(chunks, diagnostics)
    _check_positions(chunks, settings, diagnostics)
    _check_lists(job, chunks, settings, diagnostics)
    _check_steps(chunks, diagnostics)
    _note_zero_scale(chunks, diagnostics)
    last = len(chunks) - 1
    for index, chunk in enumerate(job.keep_state):
        if chunk > last:
            allowed = f"1 to {last}, counted from 0" if last else "none, since there is one chunk"
            diagnostics.problems.append(f"{place(job, 'keep_state', index)}: no chunk {chunk}; allowed: {allowed}")


def _check_positions(chunks: Sequence[Chunk], settings: Settings, diagnostics: Diagnostics) -> None:
    if settings.spec.memory != "rolling":
        return  # positions restart with every chunk
    longest = geometry.ROPE_TABLE_LATENTS - settings.spec.block
    beyond = next((chunk for chunk in chunks if chunk.start_latent >= longest), None)
    if beyond is not None:
        diagnostics.warnings.append(
            f"from chunk {beyond.index} (frame {beyond.first_frame}) on the sequence is longer than {longest - 1} "
            "latent frames: no published run was that long; reset_cache restarts it"
        )


def _check_steps(chunks: Sequence[Chunk], diagnostics: Diagnostics) -> None:
    lists = {chunk.denoising_steps for chunk in chunks}
    rising_lists = {steps for steps in lists if any(a <= b for a, b in pairwise(steps))}
    rising = [chunk for chunk in chunks if chunk.denoising_steps in rising_lists] if rising_lists else []
    if rising:
        steps = " ".join(map(str, rising[0].denoising_steps))
        diagnostics.warnings.append(
            f"denoising_steps: {steps} in {name_chunks(chunk.index for chunk in rising)} do not fall; they must lead "
            "from noise (1000) to the picture"
        )


def _note_zero_scale(chunks: Sequence[Chunk], diagnostics: Diagnostics) -> None:
    idle = [chunk.index for chunk in chunks if chunk.vace is not None and chunk.vace.scale == 0]
    if idle:
        diagnostics.notes.append(f"VACE has no effect in {name_chunks(idle)}: vace_context_scale is 0")


def _check_lists(job: Job, chunks: Sequence[Chunk], settings: Settings, diagnostics: Diagnostics) -> None:
    schedules = [("seed", job.seed), ("noise_scale", job.noise_scale), ("vace_context_scale", job.vace_context_scale)]
    schedules += [("kv_cache_attention_bias", job.kv_cache_attention_bias)]
    schedules += [(f"LoRA {Path(path).name}", schedule) for path, schedule in job.lora_scales.items()]
    used = settings.grid.position(chunks[-1].index, chunks[-1].first_frame) + 1
    noun = "slot" if settings.grid.by_slots else "chunk"
    for name, schedule in schedules:
        numbers = 0 if schedule is None else len(schedule.values)
        if numbers > used:
            diagnostics.warnings.append(
                f"{name}: {numbers} values for {counted(used, noun)}; the last {numbers - used} are never used"
            )
