"""Checks that `plan` takes the jobs and options that `render` takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def longlive(tmp_path: Path) -> str:
    (tmp_path / "long.yaml").write_text("prompt: a cat\nnum_frames: 9\nheight: 64\nwidth: 64\n")
    return "long.yaml"


def test_several_jobs_are_planned_in_turn_and_summed_up(run, job):
    ran = run("plan", job(name="a.yaml"), job(name="b.yaml", frames=60))
    heads = [line for line in ran.out.splitlines() if " jobs planned" in line or line.startswith("job ")]
    assert ran.code == 0
    assert heads == ["job 1 of 2: a.yaml", "job 2 of 2: b.yaml", "2 of 2 jobs planned: 96 frames, 0:06.00 of video"]


def test_several_plans_are_a_list_in_json(run, job):
    plans = json.loads(run("plan", job(name="a.yaml"), job(name="b.yaml", frames=60), "--json").out)
    assert [(plan["job"], plan["num_frames"]) for plan in plans] == [("a.yaml", 36), ("b.yaml", 60)]


def test_a_bad_job_does_not_stop_the_others(run, job):
    ran = run("plan", "missing.yaml", job())
    assert ran.code == 66 and len(ran.errors) == 1 and "1 of 2 jobs planned" in ran.out


def test_the_outputs_are_those_of_the_command_line(run, job):
    assert "output: out/job-42.mkv (" in run("plan", job(), "-o", "out/{job}-{seed}.mkv").out
    assert run("plan", job(), "-o", "a.tiff").code == 65
    assert run("plan", job(name="a.yaml"), job(name="b.yaml"), "-o", "a.mp4").code == 2


@pytest.mark.parametrize(
    "twice", [("--models", "a", "--models", "b"), ("-f", "npy", "--format=nut"), ("--fps", "8") * 2]
)
def test_an_option_of_one_value_may_not_be_repeated(run, job, twice):
    ran = run("import" if twice[0] == "--fps" else "plan", job(), *twice)
    (line,) = ran.errors
    assert ran.code == 2 and " is given 2 times; it takes one value (see scope-batch " in line


def test_a_flag_and_a_list_may_be_repeated(run, job):
    assert run("plan", job(), "--strict", "--strict", "--set", "seed=1", "--set", "num_frames=9").code == 0


def test_models_and_dtype_change_the_forecast(run, longlive):
    def peak(*options: str) -> int:
        return int(json.loads(run("plan", longlive, "--json", *options).out)["device_memory"]["peak"])

    assert peak("--models", "tiny") < peak() / 100 and peak("--dtype", "float32") > 1.5 * peak()


def test_low_vram_notes_the_blocks_in_host_memory(run, longlive):
    note = "note: --low-vram on: 2.6 GB of weights are kept in host memory, about 938.4 MB stay on the device"
    assert note in run("plan", longlive, "--low-vram", "on").out


def test_no_device_memory_is_forecast_for_a_cpu(run, longlive):
    assert "memory: about" not in run("plan", longlive, "--device", "cpu").out


def test_an_option_that_slate_cannot_use_is_a_warning(run, job):
    assert "warning: --low-vram has no effect: slate loads no model" in run("plan", job(), "--low-vram", "on").out


STRANGE = "pipeline_id: slate\nprompt: a ${TOKEN}\nnum_frames: 12\noutput: ../x.mp4\n"
REACH = ["note: reads environment variables: TOKEN (prompt)", "note: writes outside the working directory: ../x.mp4"]


def test_plan_and_render_note_variables_and_paths_outside_the_folder(run, tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", "secret")
    (tmp_path / "strange.yaml").write_text(STRANGE)
    for text in (run("plan", "strange.yaml").out, run("render", "strange.yaml").err):
        assert [line for line in text.splitlines() if line.startswith("note: ")][-2:] == REACH


def test_an_output_of_the_command_line_needs_no_note(run, tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", "secret")
    (tmp_path / "strange.yaml").write_text(STRANGE)
    for option in (("-o", "../y.mp4"), ("--set", "output=../y.mp4")):
        assert "writes outside" not in run("plan", "strange.yaml", *option).out
