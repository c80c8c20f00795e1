"""Makes jobs and plans in one line."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from scope_batch.core.conditioning import Blend, Transition
from scope_batch.core.plan import Chunk, ClipFacts, Plan
from scope_batch.job import Job
from scope_batch.pipelines import PIPELINES
from scope_batch.pipelines.spec import PipelineSpec
from scope_batch.plan import plan_job

LONGLIVE = PIPELINES["longlive"]
SDV2 = replace(LONGLIVE, id="one-by-one", block=1, on_prompt_change="text")
CLIP = ClipFacts(width=576, height=320, frames=96, fps=Fraction(16), has_audio=False)


def plan(*entries: dict[str, Any], spec: PipelineSpec = LONGLIVE, **fields: Any) -> Plan:
    """Plan a text job of 96 frames and one prompt, "A"."""
    return plan_job(Job(**{"prompt": "A", "num_frames": 96, "chunk_specs": list(entries), **fields}), spec, None)


def video_plan(*entries: dict[str, Any], clip: ClipFacts = CLIP, spec: PipelineSpec = LONGLIVE, **fields: Any) -> Plan:
    """Plan the same job with a clip of that length, size and rate."""
    values = {"prompt": "A", "num_frames": 96, "input_path": "/clip.mp4", "chunk_specs": list(entries), **fields}
    return plan_job(Job(**values), spec, clip)


def mark(chunk: Chunk) -> str:
    """Return the event of a chunk: "cut", "recache", "text" or ""."""
    return "cut" if chunk.cut else "recache" if chunk.recache else "text" if chunk.text_changed else ""


def marks(plan: Plan) -> list[str]:
    return [mark(chunk) for chunk in plan.chunks]


def text(chunk: Chunk) -> str:
    """Return the single prompt of a blend, or "A>B 0.50" for a step of a transition."""
    way = chunk.conditioning
    if isinstance(way, Transition):
        source = way.source.prompts[0].text if isinstance(way.source, Blend) else "..."
        return f"{source}>{way.target.prompts[0].text} {way.t:.2f}"
    return way.prompts[0].text


def texts(plan: Plan) -> list[str]:
    return [text(chunk) for chunk in plan.chunks]


def blend(chunk: Chunk) -> Blend:
    assert isinstance(chunk.conditioning, Blend)
    return chunk.conditioning


def way(chunk: Chunk) -> Transition:
    assert isinstance(chunk.conditioning, Transition)
    return chunk.conditioning
