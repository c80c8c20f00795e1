from __future__ import annotations

from typing import Any

from tests.importing.helpers import imported, job_of, notes_of, plan_of, shown, workflow


def entry(start: float, end: float, text: str = "a", **more: Any) -> dict[str, Any]:
    return {"start_time": start, "end_time": end, "prompts": [{"text": text, "weight": 1}], **more}


def main(**more: Any) -> dict[str, Any]:
    return {
        "pipeline_id": "longlive",
        "role": "main",
        "source": {"type": "builtin"},
        "params": {"height": 320, "width": 576, "seed": 3},
        **more,
    }


def test_a_workflow_is_a_timeline_with_other_names() -> None:
    way = {"transition_steps": 3, "temporal_interpolation_method": "slerp"}
    export = workflow(entry(0, 2), entry(2, 5, "b", **way))
    job = job_of(export)
    assert shown(export) == [(0, "a"), (2, "b")] and job.chunk_specs[0].transition_num_steps == 3
    assert (job.num_frames, job.height, job.width, job.seed.written()) == (80, 320, 576, 7)
    assert notes_of(export) == () and plan_of(export).warnings == ()


def test_the_job_begins_with_its_name_and_date() -> None:
    metadata = {"name": "my\nworkflow", "created_at": "2026-03-01", "scope_version": "0.1.9"}
    text = imported(workflow(entry(0, 2), metadata=metadata)).text
    assert '# Scope workflow 1.0 "my\\nworkflow", created 2026-03-01 with Scope 0.1.9, from panda.json' in text


def test_without_a_timeline_its_prompts_are_shown() -> None:
    export = workflow(prompts=[{"text": "x", "weight": 100}])
    assert shown(export) == [(0, "x")] and notes_of(export) == ("assumed: timeline (absent): the job's default length",)


def test_prompts_beside_a_timeline_are_noted() -> None:
    export = workflow(entry(0, 2), prompts=[{"text": "x", "weight": 100}])
    assert shown(export) == [(0, "a")] and "the timeline has its own prompts" in notes_of(export)[0]


def test_processors_and_plugins_are_noted() -> None:
    others = [{"pipeline_id": "depth", "role": "preprocessor"}, main(source={"type": "git"})]
    first, second = notes_of(workflow(entry(0, 2), pipelines=others))
    assert first == 'not carried over: pipelines[0].pipeline_id ("depth"): a preprocessor beside pipelines[1]'
    assert second.startswith('not carried over: pipelines[1].source ({"type": "git"})')


def test_parameters_that_act_on_files_are_noted_if_set() -> None:
    export = workflow(entry(0, 2), pipelines=[main(params={"vace_context_scale": 1.5, "vace_enabled": True})])
    (line,) = [line for line in notes_of(export) if "vace" in line]
    assert "pipelines[0].params.vace_context_scale (1.5): acts on images and control videos" in line
