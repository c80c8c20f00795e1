"""Plans jobs whose files do not exist: their facts come from their names, "depth 96.mp4" has 96 frames."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from scope_batch.core.plan import Chunk, ClipFacts, Plan, Vace
from scope_batch.core.timeline import ClipSourceFacts
from scope_batch.core.timing import Timing
from scope_batch.job import Job, load_text
from scope_batch.pipelines import PIPELINES
from scope_batch.pipelines.spec import PipelineSpec
from scope_batch.plan import plan_job
from scope_batch.plan.material_fields import Facts, all_clip_fields
from tests.plan.helpers import CLIP, LONGLIVE

SIZE = {"height": 64, "width": 64}


def facts_of(job: Job) -> Facts:
    return {
        clip_field.source: fact_of(clip_field.source.path, clip_field.source.part)
        for clip_field in all_clip_fields(job)
    }


def fact_of(path: Path, part: Any) -> ClipSourceFacts:
    """Invent the facts of a source. Arrays are 64x64 unless their name has a size, "small 32x32 12.npy"; videos are
    99x77, and state a rate if their name does, "depth 24fps 48.mp4"; a PNG is a still."""
    if part is not None:
        video = len(part.shape) == 4
        frames, height, width = part.shape[:3] if video else part.shape[2:]
        return ClipSourceFacts(frames, height, width, True)
    if path.suffix == ".png":
        return ClipSourceFacts(1, 77, 99, exact=False, still=True)
    size = re.search(r"(\d+)x(\d+)", path.name)
    height, width = (int(size[2]), int(size[1])) if size else (64, 64)
    frames = int(re.findall(r"\d+", path.stem)[-1])
    if path.suffix == ".npy":
        return ClipSourceFacts(frames, height, width, True, still=frames == 1)
    rate = re.search(r"(\d+)fps", path.name)
    timing = Timing.even(frames, Fraction(rate[1])) if rate else None
    return ClipSourceFacts(frames, 77, 99, False, timing=timing)


def plan_of(job: Job, spec: PipelineSpec | None = None, clip: ClipFacts = CLIP) -> Plan:
    facts = None if job.input_path is None else clip
    return plan_job(job, spec or PIPELINES[job.pipeline_id], facts, facts_of(job))


def steered(*entries: dict[str, Any], spec: PipelineSpec = LONGLIVE, **fields: Any) -> Plan:
    """Plan a 64x64 text job of 96 frames."""
    return plan_of(Job(**{"prompt": "A", "num_frames": 96, **SIZE, "chunk_specs": list(entries), **fields}), spec)


def written(text: str) -> Plan:
    """Plan the same job from a text, whose first two lines are the prompt and the size."""
    return plan_of(load_text(f"prompt: a\n{{height: 64}}\n{text}", name="j"))


def vace(chunk: Chunk) -> Vace:
    assert chunk.vace is not None
    return chunk.vace


def controlled(plan: Plan) -> list[int]:
    """Return the chunks that have control frames or masks."""
    return [chunk.index for chunk in plan.chunks if chunk.vace is not None and chunk.vace.timeline]


def spans(plan: Plan) -> list[tuple[str, int, int]]:
    return [(placement.source.path.stem, placement.first_frame, placement.end_frame) for placement in plan.placements]
