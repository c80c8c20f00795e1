"""Makes exports as Scope writes them, and imports them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from scope_batch.core.plan import Plan
from scope_batch.importing import Imported, import_export
from scope_batch.job import Job, load_text
from scope_batch.pipelines import PIPELINES
from scope_batch.plan import plan_job

SETTINGS = {"pipelineId": "longlive", "resolution": {"height": 320, "width": 576}, "seed": 7, "quantization": None}


def block(start: Any, end: Any, *texts: str, **more: Any) -> dict[str, Any]:
    prompts = [{"text": text, "weight": 100} for text in texts or ("a cat",)]
    return {"startTime": start, "endTime": end, "prompts": prompts, **more}


def timeline(*blocks: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {"prompts": list(blocks), "settings": {**SETTINGS, **settings}, "version": "2.1"}


def workflow(*entries: dict[str, Any], pipelines: Any = None, **more: Any) -> dict[str, Any]:
    main = {"pipeline_id": "longlive", "role": "main", "params": {"height": 320, "width": 576, "base_seed": 7}}
    return {
        "format": "scope-workflow",
        "format_version": "1.0",
        "pipelines": [main] if pipelines is None else pipelines,
        "timeline": {"entries": list(entries)},
        **more,
    }


def imported(export: Any, fps: Any = 16, folder: Path = Path("/nowhere")) -> Imported:
    data = export if isinstance(export, bytes) else json.dumps(export).encode()
    return import_export(data, name="panda.json", fps=Fraction(fps), folder=folder)


def job_of(export: Any, fps: Any = 16) -> Job:
    return load_text(imported(export, fps).text, name="job.yaml", environ={})


def plan_of(export: Any, fps: Any = 16) -> Plan:
    job = job_of(export, fps)
    return plan_job(job, PIPELINES[job.pipeline_id], None)


def notes_of(export: Any, fps: Any = 16) -> tuple[str, ...]:
    return imported(export, fps).notes


def shown(export: Any, fps: Any = 16) -> list[tuple[float, str]]:
    """Return (seconds, text) of the prompts that the job shows."""
    job = job_of(export, fps)
    return [(0, job.prompt[0].text), *((spec.time or 0, (spec.target or ())[0].text) for spec in job.chunk_specs)]
