from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.importing.helpers import block, imported, job_of, notes_of, plan_of, timeline, workflow

ONE = block(0, 4)


def lora(path: str, scale: Any = 0.8, **more: Any) -> dict[str, Any]:
    return {"id": "1", "path": path, "scale": scale, **more}


def test_loras_keep_their_scales(tmp_path: Path) -> None:
    export = timeline(ONE, loras=[lora("/loras/a.safetensors"), lora("loras/b: c.safetensors", -1)])
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "b: c.safetensors").touch()
    result = imported(export, folder=tmp_path)
    assert '  "/loras/a.safetensors": 0.8\n  "loras/b: c.safetensors": -1' in result.text
    (line,) = result.notes
    assert line == "missing: settings.loras[0]: no such file: /loras/a.safetensors; correct its path in the job"


@pytest.mark.parametrize(
    ("modes", "strategy", "merge"),
    [
        (["permanent_merge"], None, "always"),
        (["runtime_peft", "runtime_peft"], "permanent_merge", "never"),
        ([None], "runtime_peft", "never"),
        ([None], None, "auto"),
        (["runtime_peft", "permanent_merge"], None, "auto"),
        (["module_targeted"], None, "auto"),
    ],
)
def test_merge_modes_become_lora_merge(modes: list[str | None], strategy: str | None, merge: str) -> None:
    loras = [lora(f"/{index}.safetensors", mergeMode=mode) for index, mode in enumerate(modes)]
    assert job_of(timeline(ONE, loras=loras, loraMergeStrategy=strategy)).lora_merge == merge


def test_a_lora_listed_twice_counts_twice() -> None:
    export = timeline(ONE, loras=[lora("/a.safetensors", 0.5), lora("/a.safetensors", 0.25)])
    assert '  "/a.safetensors": 0.75\n' in imported(export).text and "its scales are added" in notes_of(export)[0]


def test_a_file_listed_under_two_names_counts_once() -> None:
    export = timeline(ONE, loras=[lora("/a.safetensors"), lora("/x/../a.safetensors")])
    assert (
        "/x/../a.safetensors (0.8): lora_scales.a.safetensors: the same file is already in the list"
        in notes_of(export)[0]
    )
    assert len(job_of(export).lora_scales) == 1


def test_loras_of_a_constant_scale_are_planned() -> None:
    plan = plan_of(timeline(block(0, 4), loras=[lora("/a.safetensors", 0.5, mergeMode="runtime_peft")]))
    assert [chunk.lora_scales for chunk in plan.chunks] == [(0.5,)] * len(plan.chunks) and not plan.loras[0].merged


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (lora("", 1), "has no file name"),
        (lora("/a.safetensors", "1"), "its scale must be a number"),
        (lora("/a.safetensors", 99), "(99.0): must be a number in -10..10, not 99"),
        (lora("a.safetensors", 99), "a.safetensors (99.0): must be a number in -10..10, not 99"),
        (lora("/a.pt"), "a LoRA is a .safetensors file"),
    ],
)
def test_an_invalid_lora_is_noted(entry: dict[str, Any], why: str) -> None:
    export = timeline(ONE, loras=[entry])
    assert why in notes_of(export)[0] and "\nlora_scales" not in imported(export).text


def test_loras_of_a_workflow_are_file_names() -> None:
    loras = [{"filename": "a.safetensors", "weight": 0.5, "merge_mode": "runtime_peft", "sha256": "ab"}]
    main = {"pipeline_id": "longlive", "role": "main", "loras": loras}
    export = workflow(pipelines=[main], prompts=[{"text": "a", "weight": 1}])
    assert job_of(export).lora_merge == "never" and '\n  "a.safetensors": 0.5\n' in imported(export).text
    assert notes_of(export)[-1].startswith("missing: pipelines[0].loras[0]")
