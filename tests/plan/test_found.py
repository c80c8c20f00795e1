"""What was found in the files of a job is told in its plan."""

from __future__ import annotations

from dataclasses import replace

from scope_batch.job import Job
from scope_batch.material import Material, MaterialFacts
from scope_batch.plan import plan_job
from tests.plan.helpers import CLIP, LONGLIVE, video_plan


def test_what_was_found_in_the_clip_is_told_with_its_name() -> None:
    plan = video_plan(clip=replace(CLIP, notes=("HLG, converted to SDR",), warnings=("number 7 is missing",)))
    assert "clip.mp4: HLG, converted to SDR" in plan.notes and "clip.mp4: number 7 is missing" in plan.warnings


def test_what_was_found_in_control_is_told_once_with_its_field(tmp_path) -> None:
    depth = tmp_path / "depth.mkv"
    job = Job(prompt="A", num_frames=24, vace_frames=depth, chunk_specs=[{"chunk": 1, "vace_frames": depth}])
    facts = {Material("frames", depth): MaterialFacts(24, 320, 576, exact=False, notes=("is interlaced",))}
    notes = plan_job(job, LONGLIVE, None, facts).notes
    assert [note for note in notes if "interlaced" in note] == ["vace_frames: depth.mkv: is interlaced"]
