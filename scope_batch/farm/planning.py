"""Plans jobs for a scheduler: which models each needs, and about how long it takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace

from scope_batch.core.engine import EngineRequest
from scope_batch.farm.messages import Order
from scope_batch.farm.waiting import Task
from scope_batch.job import Job
from scope_batch.render.engine_pool import request_of
from scope_batch.render.options import RenderOptions
from scope_batch.render.prepare import prepare_job
from scope_batch.render.speed_history import expected_s


def tasks_of(jobs: Sequence[tuple[Job, str, RenderOptions]]) -> list[Task | Exception]:
    """Return a task for each job, its stem and its options, or the error for which it cannot be rendered."""
    planned: list[tuple[EngineRequest, float] | Exception] = []
    for job, _, options in jobs:
        try:
            plan = prepare_job(job)
            request = request_of(job, plan, options)
            planned.append((request, expected_s(plan, request)))
        except Exception as error:  # noqa: BLE001  (a fault of one job must not end the others)
            planned.append(error)
    by_models: dict[Hashable, list[EngineRequest]] = defaultdict(list)
    for entry in planned:
        if not isinstance(entry, Exception):
            by_models[_models(entry[0])].append(entry[0])
    tasks: list[Task | Exception] = []
    for number, ((job, stem, options), entry) in enumerate(zip(jobs, planned, strict=True)):
        if isinstance(entry, Exception):
            tasks.append(entry)
            continue
        request, seconds = entry
        alike = by_models[_models(request)]
        vace, most_bytes = any(one.vace for one in alike), max(one.expected_bytes for one in alike)
        tasks.append(Task(number, Order(job, stem, options, vace, most_bytes), _models(request), seconds))
    return tasks


def _models(request: EngineRequest) -> Hashable:
    """Return what is equal for requests that one engine, loaded for the most demanding of them, can serve."""
    return replace(request, vace=False, expected_bytes=0)
