"""A measured render is the real one."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scope_batch.bench.cases import CASES, case_job
from scope_batch.bench.measure import Bench, Run
from scope_batch.bench.profiler import summary
from scope_batch.bench.table import details, speed_table
from scope_batch.cli.documents import print_rich
from scope_batch.job import load_job
from scope_batch.render.options import RenderOptions
from scope_batch.render.prepare import prepare_job


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("bench")
    job = case_job(
        "video", pipeline_id="longlive", models="tiny", height=64, width=64, chunks=3, warmup=1, folder=folder
    )
    measured = Bench(RenderOptions(models="tiny"), 1, "npy", True, folder).run(job, "video", "auto", 0)
    assert [path.name for path in folder.iterdir()] == ["clip-64x64.npy"]
    return measured


def test_chunks_and_stages(run: Run) -> None:
    assert [times.frames for times in run.chunks] == [13, 12, 12] and run.measured == (1, 2)
    assert {"encoding", "denoising", "caching", "decoding", "copying"} <= run.stages.keys()
    assert run.fps == pytest.approx(1000 * run.frames / run.chunk)
    assert run.tflop.keys() == {"denoising", "caching", "encoding", "decoding"}


def test_a_cpu_has_neither_peak_nor_kernels(run: Run) -> None:
    assert run.floor_share is None and run.forecast_bytes is None and run.profile is None
    assert run.reason_against_kernels == "they need a CUDA device"
    assert run.environment["kernels"] == "torch"


def test_figures_are_json_and_a_table(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert json.loads(json.dumps(run.to_json()))["chunks"][1]["stages"].keys() >= {"denoising"}
    print_rich(speed_table([run], {run.key: run.fps / 2}), *details([run]))
    shown = capsys.readouterr().out
    assert "unknown" in shown and "+100.0" in shown and "they need a CUDA device" in shown


@pytest.mark.parametrize("name", CASES)
def test_cases_use_what_they_say(name: str, tmp_path: Path) -> None:
    job = case_job(
        name, pipeline_id="longlive", models="tiny", height=64, width=64, chunks=4, warmup=0, folder=tmp_path
    )
    plan = prepare_job(job)
    last = plan.chunks[-1]
    assert len(plan.chunks) == 4 and last.frames == last.keep
    assert (last.mode == "video") == (name == "video")
    assert (last.vace is not None) == name.startswith("vace")
    assert any(chunk.recache for chunk in plan.chunks) == (name == "switch")
    assert [lora.merged for lora in plan.loras] == {"lora-merged": [True], "lora-branch": [False]}.get(name, [])


def event(name: str, start: float, end: float, device: str) -> Any:
    times = SimpleNamespace(start=start, end=end)
    kind = SimpleNamespace(name=device)
    return SimpleNamespace(name=name, time_range=times, device_type=kind, is_user_annotation=False)


def test_a_profile_is_summed_up() -> None:
    events = [
        event("gemm", 0, 4000, "CUDA"),
        event("norm", 2000, 5000, "CUDA"),
        event("gemm", 8000, 10000, "CUDA"),
        *(event(name, 0, 1, "CPU") for name in ("cudaLaunchKernel", "cuLaunchKernelEx", "cudaGraphLaunch", "aten::mm")),
        event("cudaStreamSynchronize", 0, 1, "CPU"),
    ]
    found = summary(events, 2)
    assert (found.busy, found.kernels, found.launches, found.host_waits) == (3.5, 1.5, 1.5, 0.5)
    assert found.idle_share == pytest.approx(0.3)
    assert found.largest[0] == ("gemm", 3.0, 1.0)


def test_torch_names_its_events_so() -> None:
    """What `summary` reads of a profile exists in this version of torch."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        torch.ones(2) + 1
    found = summary(list(profiler.events()), 1)
    assert (found.kernels, found.launches, found.idle_share) == (0, 0, 0)


def test_a_pipeline_without_models(tmp_path: Path) -> None:
    job = load_job({"pipeline_id": "slate", "prompt": "a", "num_frames": 9, "height": 64, "width": 64})
    run = Bench(RenderOptions(), 14, "npy", False, tmp_path).run(job, "job", "auto", 0)
    assert (run.frames, run.measured, run.tflop, run.effective_tflops) == (9, (0, 0), {}, None)
