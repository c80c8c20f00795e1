"""Jobs of the same models are told by what one engine can render; planning imports no torch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from scope_batch.farm.planning import planned_job, tasks_of
from scope_batch.farm.waiting import Task
from scope_batch.job import parse_job
from scope_batch.render.options import RenderOptions

STILL = {"chunk": 0, "first_frame_image": "examples/assets/first.png"}


def tasks(*fields: dict[str, Any]) -> list[Task]:
    base = {"pipeline_id": "longlive", "models": "tiny", "prompt": "a", "num_frames": 9, "height": 64, "width": 64}
    jobs = [parse_job(base | one) for one in fields]
    return tasks_of([planned_job(number, job, "job", RenderOptions()) for number, job in enumerate(jobs)])


def test_jobs_that_one_engine_can_render_have_equal_models() -> None:
    plain, longer, vace, other = tasks({}, {"num_frames": 33}, {"chunk_specs": [STILL]}, {"pipeline_id": "memflow"})
    assert plain.models == longer.models == vace.models != other.models
    assert plain.order.vace and not other.order.vace, "the engine is loaded once, with all that its jobs need"
    assert plain.order.expected_bytes == vace.order.expected_bytes
    assert longer.expected_s > plain.expected_s


def test_tasks_keep_the_numbers_of_their_jobs() -> None:
    assert [task.number for task in tasks({}, {}, {})] == [0, 1, 2]


def test_planning_imports_no_torch() -> None:
    code = """
import sys
from scope_batch.cli.device_queue import DeviceQueue
from scope_batch.farm.local_worker import LocalWorker
from scope_batch.farm.planning import planned_job, tasks_of
from scope_batch.job import parse_job
from scope_batch.render.options import RenderOptions
job = parse_job({"models": "tiny", "prompt": "a", "num_frames": 9, "height": 64, "width": 64})
(task,) = tasks_of([planned_job(0, job, "job", RenderOptions())])
assert not {"torch", "diffusers", "transformers"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
