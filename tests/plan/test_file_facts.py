"""Tests that a plan reports facts about the files of its job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scope_batch.core.timeline import ClipSource, ClipSourceFacts
from scope_batch.job import Job
from scope_batch.plan import plan_job
from tests.plan.helpers import CLIP, LONGLIVE, video_plan


def test_facts_about_the_clip_are_reported_with_its_name() -> None:
    plan = video_plan(clip=replace(CLIP, notes=("HLG, converted to SDR",), warnings=("number 7 is missing",)))
    assert "clip.mp4: HLG, converted to SDR" in plan.notes and "clip.mp4: number 7 is missing" in plan.warnings


def test_facts_about_control_are_reported_once_with_its_field(tmp_path) -> None:
    depth = tmp_path / "depth.mkv"
    job = Job(prompt="A", num_frames=24, vace_frames=depth, chunk_specs=[{"chunk": 1, "vace_frames": depth}])
    facts = {ClipSource("control", depth): ClipSourceFacts(24, 320, 576, exact=False, notes=("is interlaced",))}
    notes = plan_job(job, LONGLIVE, None, facts).notes
    assert [note for note in notes if "interlaced" in note] == ["vace_frames: depth.mkv: is interlaced"]


def test_unread_tensors_are_reported() -> None:
    both = Path("/both.safetensors")
    facts = {
        ClipSource("control", both): ClipSourceFacts(24, 320, 576, exact=True, unread=("masks", "other")),
        ClipSource("masks", both): ClipSourceFacts(24, 320, 576, exact=True, unread=("frames", "other")),
    }
    notes = plan_job(Job(prompt="A", num_frames=24, vace_frames=both), LONGLIVE, None, facts).notes
    assert "vace_frames: both.safetensors: holds masks, other too, which are not read" in notes[0]
    assert notes[0].endswith("(vace_masks and vace_frames may name one file)")
    notes = plan_job(Job(prompt="A", num_frames=24, vace_frames=both, vace_masks=both), LONGLIVE, None, facts).notes
    assert "vace_frames: both.safetensors: holds other too, which is not read" in notes
