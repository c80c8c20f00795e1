from __future__ import annotations

import json
from fractions import Fraction

import pytest
import yaml

from scope_batch.core.plan import ClipFacts
from scope_batch.job import load_job


def test_the_plan_is_a_table(run, job):
    ran = run("plan", job())
    assert ran.code == 0 and "36 frames" in ran.out and ran.err == ""


def test_the_plan_as_json(run, job):
    plan = json.loads(run("plan", job(), "--json", "--set", "num_frames=60").out)
    assert plan["num_frames"] == 60 and sum(chunk["keep"] for chunk in plan["chunks"]) == 60


def test_dry_run_is_the_plan(run, job, fake):
    assert run("render", job(), "--dry-run").out == run("plan", job()).out
    assert not fake.CALLS


def test_dry_run_goes_on_after_a_failure(run, job):
    ran = run("render", "missing.yaml", job(), "--dry-run")
    assert ran.code == 66 and len(ran.errors) == 1 and "36 frames" in ran.out


def test_strict_fails_on_warnings(run, job):
    sets_nothing = ("--set", "chunk_specs=[{chunk: 1}]")
    assert run("plan", job(), "--json", *sets_nothing).code == 0
    assert run("plan", job(), "--json", *sets_nothing, "--strict").code == 1


def test_strict_passes_without_warnings(run, job):
    assert run("plan", job(), "--strict").code == 0


def test_the_schema_is_json(run):
    assert "num_frames" in json.loads(run("schema").out)["properties"]


def test_init_writes_a_job_that_loads(run, tmp_path):
    assert run("init", "-o", "new.yaml").code == 0
    assert load_job(tmp_path / "new.yaml").num_frames == 96
    assert run("init").out.startswith("#")


def test_init_replaces_a_file_only_with_overwrite(run, tmp_path):
    (tmp_path / "new.yaml").write_text("mine")
    ran = run("init", "-o", "new.yaml")
    assert (ran.code, len(ran.errors)) == (73, 1) and (tmp_path / "new.yaml").read_text() == "mine"
    assert run("init", "-o", "new.yaml", "-y").code == 0


def test_init_makes_the_folder(run, tmp_path):
    assert run("init", "-o", "a/b/new.yaml").code == 0 and (tmp_path / "a" / "b" / "new.yaml").is_file()


def test_init_fits_a_clip_and_finds_it_from_the_jobs_folder(run, tmp_path, monkeypatch):
    facts = ClipFacts(width=640, height=384, frames=50, fps=Fraction(25), has_audio=False)
    monkeypatch.setattr("scope_batch.media.validate.probe_whole_clip", lambda _: facts)
    (tmp_path / "jobs").mkdir()
    assert run("init", "clip.mp4", "-o", "jobs/new.yaml").code == 0
    job = load_job(tmp_path / "jobs" / "new.yaml")
    assert (job.width, job.height, job.fps) == (640, 384, 25) and job.input_path.resolve() == tmp_path / "clip.mp4"


def test_info_prints_a_job_file(run, tmp_path):
    values = {"pipeline_id": "slate", "prompt": "ein Kätzchen", "num_frames": 12}
    (tmp_path / "cat.npy").touch()
    (tmp_path / "cat.npy.json").write_text(json.dumps({"job": values}))
    assert yaml.safe_load(run("info", "cat.npy").out) == values
    assert json.loads(run("info", "cat.npy", "--json").out) == values


def test_info_of_a_file_without_a_job(run, tmp_path):
    (tmp_path / "cat.npy").touch()
    ran = run("info", "cat.npy")
    assert (ran.code, len(ran.errors), ran.out) == (65, 1, "")


@pytest.mark.parametrize("verb", [(), ("render",), ("plan",), ("models", "pull"), ("info",)], ids=" ".join)
def test_help_names_no_types_of_the_programming_language(run, verb):
    shown = run(*verb, "--help").out
    assert "Usage" in shown and not any(word in shown for word in ("<bool>", "list[", "<str>", "<path>  "))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--low-vram", "error: Invalid value for '--low-vram': 'x' is not one of 'auto', 'off', 'on', 'cast' "),
        ("--timeout", "error: Invalid value for '--timeout': "),
    ],
)
def test_a_wrong_value_is_reported_without_words_of_the_libraries(run, job, option, message):
    (line,) = run("render", job(), option, "x").errors
    assert line.startswith(message) and "Value error" not in line and "Input should be" not in line


def test_without_a_verb_there_is_help_and_exit_2(run):
    ran = run()
    assert ran.code == 2 and "render" in ran.out + ran.err


def test_a_plan_refuses_outputs_that_a_render_would_refuse(run, job):
    ran = run("plan", job(), "--set", "output={path: a.mp4, preset: plaid}")
    assert ran.code == 65 and "'plaid' is not known" in ran.err


def test_remarks_are_whole_lines_where_no_terminal_shows_them(run, job):
    ran = run(
        "plan",
        job(),
        "--set",
        "chunk_specs=[{chunk: 1}, {chunk: 2, denoising_steps: [250, 1000, 750, 500, 250, 249, 248, 247]}]",
    )
    warnings = [line for line in ran.out.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 4 and max(map(len, warnings)) > 120 and warnings[-1].endswith("to the picture")


def test_info_shows_defaults_too_and_they_are_part_of_the_job(run, tmp_path):
    document = {"job": {"prompt": "a cat"}, "defaults": {"pipeline_id": "slate", "seed": 42}}
    (tmp_path / "cat.npy").touch()
    (tmp_path / "cat.npy.json").write_text(json.dumps(document))
    out = run("info", "cat.npy").out
    assert out.splitlines()[1] == "# The job left the following to their defaults."
    assert (
        yaml.safe_load(out)
        == document["job"] | document["defaults"]
        == json.loads(run("info", "cat.npy", "--json").out)
    )
    assert "slate" in run("plan", "cat.npy").out


def test_info_tells_what_else_made_the_file(run, tmp_path):
    document = {"job": {"prompt": "a cat"}, "models_sha256": {"vae": "00ff"}, "environment": {"torch": "2.13.0"}}
    (tmp_path / "cat.npy").touch()
    (tmp_path / "cat.npy.json").write_text(json.dumps(document))
    assert run("info", "cat.npy").out.splitlines()[1:] == [
        "# What else made the file:", "#   models_sha256:", "#     vae: 00ff", "#   environment:", "#     torch: 2.13.0"
    ]  # fmt: skip
    assert json.loads(run("info", "cat.npy", "--json", "--full").out) == document
    assert run("info", "cat.npy", "--full").code == 2


def test_the_plan_lists_the_outputs(run, job):
    assert "output: job.mp4 (libx264, crf 14, veryfast, yuv420p)\n" in run("plan", job()).out
    ran = run(
        "render",
        job(),
        "--dry-run",
        "-o",
        "{job}-{seed}.mkv",
        "-o",
        "-",
        "-f",
        "webm",
        "--set",
        "vae_type=tae",
        "--set",
        "speed=high",
    )
    assert "output: job-42.mkv (libx264, crf 14, veryfast, yuv420p), - (libvpx-vp9, crf 20, yuv420p)\n" in ran.out
    assert "engine: vae_type tae, speed high\n" in ran.out


def test_a_dry_run_refuses_outputs_that_a_render_would_refuse(run, job):
    assert run("render", job(), "--dry-run", "-f", "webm").code == 2
    assert run("render", job(), "--dry-run", "-o", "out.xyz").code == 65


def test_settings_that_no_output_uses_are_warnings(run, job):
    ran = run("plan", job(), "--strict", "--set", "video.crf=20", "--set", "output=a.npy")
    assert ran.code == 1 and "video.crf has no effect: no output is compressed video (a.npy)" in ran.out


@pytest.mark.parametrize(
    ("words", "number", "offered"),
    [("scope-batch ren", 1, ["render"]), ("scope-batch render --low-vram c", 3, ["cast"])],
)
def test_the_shell_is_offered_verbs_and_values(run, capfd, monkeypatch, words, number, offered):
    monkeypatch.setenv("_SCOPE_BATCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(number))
    with pytest.raises(SystemExit):
        run()
    assert capfd.readouterr().out.split() == offered


def test_info_of_a_job_file_names_the_verb_for_it(run, job):
    ran = run("info", job())
    assert ran.code == 65 and "is not a rendered file" in ran.err and "scope-batch plan" in ran.err


def test_an_unknown_option_named_like_a_field_gets_a_hint_to_set_it(run, job):
    assert "--set seed=VALUE replaces a value of the job" in run("render", job(), "--seed", "3").err
    assert "--set" not in run("render", job(), "--bananas").err


def test_a_job_file_of_nearly_that_name_is_suggested(run, job):
    job(name="film.yaml")
    assert run("plan", "film.yml").err == "error: film.yml: no such job file (did you mean film.yaml?)\n"
    assert run("plan", "xyz.yaml").err == "error: xyz.yaml: no such job file\n"
