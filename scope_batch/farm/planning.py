"""Plans jobs for a scheduler: which models each needs, and about how long it takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from scope_batch.core.engine import EngineRequest
from scope_batch.farm.messages import Order
from scope_batch.farm.waiting import Task
from scope_batch.job import Job
from scope_batch.render.engine_pool import request_of
from scope_batch.render.options import RenderOptions
from scope_batch.render.prepare import prepare_job
from scope_batch.render.speed_history import expected_s


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job that can be rendered. number: the caller's number for it; expected_s: forecast of its seconds."""

    number: int
    job: Job
    stem: str
    options: RenderOptions
    request: EngineRequest
    expected_s: float

    @property
    def models(self) -> Hashable:
        """What is equal for jobs that one engine, loaded for the most demanding of them, can render."""
        return replace(self.request, vace=False, expected_bytes=0)


def planned_job(number: int, job: Job, stem: str, options: RenderOptions) -> PlannedJob:
    """Plan a job. Raises what `prepare_job` raises."""
    plan = prepare_job(job)
    request = request_of(job, plan, options)
    return PlannedJob(number, job, stem, options, request, expected_s(plan, request))


def tasks_of(jobs: Sequence[PlannedJob]) -> list[Task]:
    """Return a task for each job. Those of the same models ask for one engine that serves them all."""
    requests: dict[Hashable, list[EngineRequest]] = defaultdict(list)
    for job in jobs:
        requests[job.models].append(job.request)

    def order(job: PlannedJob) -> Order:
        alike = requests[job.models]
        vace, most_bytes = any(one.vace for one in alike), max(one.expected_bytes for one in alike)
        return Order(job.job, job.stem, job.options, vace, most_bytes)

    return [Task(job.number, order(job), job.models, job.expected_s) for job in jobs]
