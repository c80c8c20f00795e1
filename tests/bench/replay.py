"""Replays slate chunks from memory, so that generating frames costs no time."""

from __future__ import annotations

from dataclasses import dataclass

from scope_batch.core.engine import EngineRequest
from scope_batch.core.frames import Frames
from scope_batch.core.plan import Plan
from scope_batch.events import silent
from scope_batch.job import Job
from scope_batch.pipelines import PIPELINES
from scope_batch.plan import plan_job
from scope_batch.render.engine_pool import load_engine


@dataclass(frozen=True)
class Replay:
    """A `scope_batch.core.engine.Generated` whose frames are given, uint8 [keep, H, W, 3]."""

    kept: Frames

    def frames(self) -> Frames:
        return self.kept

    def latents(self) -> None:
        return None


def slate_plan(frames: int, height: int, width: int) -> Plan:
    job = Job(pipeline_id="slate", prompt="a lighthouse at dusk", num_frames=frames, height=height, width=width)
    return plan_job(job, PIPELINES["slate"], None)


def drawn(plan: Plan) -> list[Replay]:
    """Draw every chunk of the plan."""
    engine = load_engine(EngineRequest(PIPELINES["slate"]), silent)
    with engine.session(plan, silent) as session:
        return [Replay(session.generate(chunk).frames()[: chunk.keep]) for chunk in plan.chunks]
