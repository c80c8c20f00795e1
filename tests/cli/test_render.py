from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import typer

from scope_batch.cli.values import parse_bytes, parse_duration


def test_the_options_arrive(run, fake, job):
    flags = "-y --models tiny --device cuda:1 --dtype float32 --preview p.png --latents l.safetensors --no-metadata"
    assert run("render", job(), "-o", "a.mp4", "-o", "-", "-f", "nut", "--force", *flags.split()).code == 0
    stem, options = fake.CALLS[0]
    assert stem == "job" and options.outputs == ("a.mp4", "-") and options.output_format == "nut"
    assert options.overwrite and options.force and not options.metadata and not options.skip_existing
    assert (options.models, options.device, options.dtype) == ("tiny", "cuda:1", "float32")
    assert (str(options.preview), str(options.latents)) == ("p.png", "l.safetensors")


def test_plain_lines_go_to_stderr_and_nothing_to_stdout(run, job):
    ran = run("render", job())
    assert ran.out == ""
    lines = ran.err.splitlines()
    assert lines.index("output job.mp4") < next(i for i, line in enumerate(lines) if line.startswith("chunk 1 of 3"))
    assert lines.count("warning: repeated in every chunk") == 1
    assert lines[-2].startswith("done: 36 frames in 2.0 s (6.00 fps), loaded in 0.5 s, peak memory 3.0 GiB")
    assert lines[-1] == "wrote job.mp4 (1.2 MiB)"


@pytest.mark.parametrize(("prompt", "code"), [("busy", 75), ("full", 74), ("closed", 141), ("memory", 75)])
def test_a_fault_is_one_line_and_its_exit_code(run, job, prompt, code):
    ran = run("render", job(prompt))
    assert ran.code == code and len(ran.errors) == 1 and "Traceback" not in ran.err


def test_every_problem_has_its_line_as_it_is(run, job):
    ran = run("render", job("bad"))
    assert ran.code == 65
    assert ran.errors == ["error: job.yaml:1:1: first [bold]", "error: job.yaml:2:2: second"]


def test_a_bug_leaves_its_traceback_in_a_file(run, job, tmp_path, monkeypatch):
    monkeypatch.setenv("SCOPE_BATCH_CACHE", str(tmp_path / "cache"))
    ran = run("render", job("bug"))
    (trace,) = (tmp_path / "cache" / "tracebacks").iterdir()
    assert ran.code == 70 and len(ran.errors) == 1 and "ValueError: no way" in ran.errors[0]
    assert str(trace) in ran.errors[0] and "Traceback" not in ran.err
    assert "raise FAULTS[prompt]" in trace.read_text()


def test_verbose_shows_a_bugs_traceback(run, job):
    assert "error: Traceback" in run("render", job("bug"), "-v").err


def test_one_failure_does_not_stop_the_rest(run, fake, job):
    names = [job(prompt, f"{i}.yaml") for i, prompt in enumerate(("a", "busy", "bad", "b"))]
    ran = run("render", *names, "-o", "{job}.mp4")
    assert ran.code == 75
    assert [stem for stem, _ in fake.CALLS] == ["0", "1", "2", "3"]
    assert ran.err.splitlines()[-5:] == [
        "0.yaml  done: 36 frames in 2.0 s -> 0.mp4",
        "1.yaml  failed (75): the encoder was killed",
        "2.yaml  failed (65): job.yaml:1:1: first [bold]",
        "3.yaml  done: 36 frames in 2.0 s -> 3.mp4",
        "2 of 4 jobs rendered, 2 failed",
    ]


def test_fail_fast_stops_at_the_first(run, fake, job):
    names = [job(prompt, f"{i}.yaml") for i, prompt in enumerate(("a", "busy", "b"))]
    ran = run("render", *names, "--fail-fast")
    assert ran.code == 75 and [stem for stem, _ in fake.CALLS] == ["0", "1"]
    assert ran.err.splitlines()[-2:] == ["2.yaml  not started", "1 of 3 jobs rendered, 1 failed, 1 not started"]


def test_each_of_several_jobs_shows_its_number_and_the_end_of_all(run, job):
    ran = run("render", job(name="a.yaml", frames=12), job(name="b.yaml", frames=12), job(name="c.yaml", frames=36))
    lines = ran.err.splitlines()
    assert [line for line in lines if line.startswith("job ")] == [
        "job 1 of 3: a.yaml", "job 2 of 3: b.yaml", "job 3 of 3: c.yaml",
    ]  # fmt: skip
    # The fake's chunks all say 1 s and 0.5 s to go, so a job takes 1.5 s; four such follow, then three, then none.
    chunks = [line for line in lines if line.startswith("chunk 1 ")]
    assert [line.partition("all jobs ")[2].partition(",")[0] for line in chunks] == ["6.5 s", "5.0 s", ""]


def test_a_later_job_whose_output_exists_takes_no_time(run, job):
    Path("b.npy").touch()
    names = [job(name=f"{letter}.yaml") for letter in "abc"]

    def first_eta(*options: str) -> str:
        lines = run("render", *names, "-o", "{job}.npy", *options).err.splitlines()
        return next(line for line in lines if line.startswith("chunk 1 ")).partition("all jobs ")[2].partition(",")[0]

    assert [first_eta(), first_eta("-y")] == ["2.0 s", "3.5 s"]


def test_json_lines_of_several_jobs_hold_their_number_and_the_end_of_all(run, job):
    ran = run("render", job(name="a.yaml"), job(name="b.yaml"), "--progress", "json")
    chunks = [line for line in map(json.loads, ran.err.splitlines()) if line["event"] == "chunk"]
    assert [(line["job_number"], line["jobs"], line["jobs_eta_s"]) for line in chunks[::3]] == [
        (1, 2, 2.0),
        (2, 2, 0.5),
    ]
    lone = run("render", job(), "--progress", "json").err
    assert "job_number" not in lone and "jobs_eta_s" not in lone


def test_an_unreadable_job_is_reported_before_the_first_is_rendered(run, fake, job):
    ran = run("render", job(), "missing.yaml", "-o", "{job}.mp4")
    assert ran.code == 66 and len(fake.CALLS) == 1
    assert ran.err.index("error: missing.yaml") < ran.err.index("chunk 1")


def test_nothing_is_rendered_after_an_unreadable_job_with_fail_fast(run, fake, job):
    assert run("render", job(), "missing.yaml", "--fail-fast").code == 66
    assert not fake.CALLS


def test_placeholders_in_paths_are_filled(run, fake, job):
    run("render", job(name="a.yaml"), job(name="b.yaml"), "-o", "{job}-{seed}.npy", "--preview", "{job}.png")
    assert [options.outputs for _, options in fake.CALLS] == [("a-42.npy",), ("b-42.npy",)]
    assert [str(options.preview) for _, options in fake.CALLS] == ["a.png", "b.png"]


def test_hash8_differs_between_jobs(run, fake, job):
    run("render", job("a", "a.yaml"), job("b", "b.yaml"), "-o", "{job}-{hash8}.npy")
    hashes = {options.outputs[0][2:10] for _, options in fake.CALLS}
    assert len(hashes) == 2 and all(int(text, 16) >= 0 for text in hashes)


@pytest.mark.parametrize(
    "arguments",
    [
        "render a.yaml b.yaml -o out.mp4",
        "render a.yaml b.yaml -o {seed}.mp4",
        "render a.yaml b.yaml -o {job}.mp4 --latents l.safetensors",
        "render a.yaml b.yaml -o -",
        "render a.yaml -o {name}.mp4",
        "render a.yaml sub/a.yaml",
        "render - -",
        "render a.yaml -q -v",
        "render a.yaml -q --progress json",
        "render a.yaml --device tpu",
        "render a.yaml --progress fancy",
        "render a.yaml --timeout 0",
        "render a.yaml --timeout nan",
        "render a.yaml --set seed",
        "render a.yaml --unknown",
        "render",
        "nothing",
    ],
)
def test_usage_errors_are_one_line_and_exit_2(run, fake, job, tmp_path, arguments):
    (tmp_path / "sub").mkdir()
    for name in ("a.yaml", "b.yaml", "sub/a.yaml"):
        job(name=name)
    ran = run(*arguments.split())
    assert (ran.code, len(ran.errors), fake.CALLS) == (2, 1, [])
    assert ran.err.count("\n") == 1 and ran.out == ""


def test_json_progress_is_json_from_the_first_line_to_the_error(run, job):
    ran = run("render", job("busy"), "--progress", "json")
    lines = [json.loads(line) for line in ran.err.splitlines()]
    assert [line["event"] for line in lines][:3] == ["loading", "started", "chunk-started"]
    assert [line["event"] for line in lines][-2:] == ["finished", "error"]
    assert lines[-1] == lines[-1] | {"job": "job.yaml", "exit_code": 75, "message": "the encoder was killed"}
    assert sorted(line["t"] for line in lines) == [line["t"] for line in lines]


def test_a_job_that_fails_early_has_one_terminal_event_all_the_same(run, job):
    ran = run("render", job("bug"), "--progress", "json")
    finished = [line for line in map(json.loads, ran.err.splitlines()) if line["event"] == "finished"]
    assert [line["outcome"] for line in finished] == ["failed"]


def test_the_progress_file_has_json_lines_whatever_is_shown(run, job, tmp_path):
    ran = run("render", job(), "-q", "--progress-file", "p.jsonl")
    assert ran.err == ""
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert lines[0]["event"] == "loading" and lines[-1]["event"] == "finished"


def test_a_progress_file_that_cannot_be_opened_is_an_output_error(run, fake, job):
    assert run("render", job(), "--progress-file", "no/such/p.jsonl").code == 74
    assert not fake.CALLS


def test_a_progress_file_replaces_nothing_but_progress(run, fake, job, tmp_path):
    name = job()
    ran = run("render", name, "--progress-file", name)
    assert (ran.code, fake.CALLS) == (73, []) and "is not a progress file" in ran.err
    assert (tmp_path / name).read_text().startswith("pipeline_id")
    assert [run("render", name, "--progress-file", "p.jsonl").code for _ in range(2)] == [0, 0]


def test_a_progress_file_that_fills_the_disk_does_not_stop_the_render(run, job):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    ran = run("render", job(), "--progress-file", "/dev/full")
    assert ran.code == 0
    assert ran.err.splitlines()[-1].startswith("warning: --progress-file /dev/full is incomplete: No space left")


def test_quiet_prints_only_errors(run, job):
    assert run("render", job(), "-q").err == ""
    assert run("render", job("busy"), "-q").err == "error: the encoder was killed\n"


def test_the_job_may_come_from_stdin(run, fake, monkeypatch, tmp_path):
    (tmp_path / "in").write_text("pipeline_id: slate\nprompt: a cat\nnum_frames: 12\n")
    with (tmp_path / "in").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert run("render", "-").code == 0
    assert fake.CALLS[0][0] == "stdin"


def test_set_overrides_the_job(run, job):
    assert "chunk 1 of 5" in run("render", job(), "--set", "num_frames=60").err


def test_a_rendered_file_is_a_job(run, fake, tmp_path):
    (tmp_path / "cat.npy").touch()
    document = {"job": {"pipeline_id": "slate", "prompt": "a cat", "num_frames": 12}}
    (tmp_path / "cat.npy.json").write_text(json.dumps(document))
    assert run("render", "cat.npy", "-o", "again.npy").code == 0
    assert fake.CALLS[0][0] == "cat"


def test_the_time_limit_ends_all_jobs(run, fake, job):
    fake.SLEEP_S = 0.3
    ran = run("render", job("slow", "a.yaml"), job("slow", "b.yaml"), "--timeout", "0.2")
    assert ran.code == 124 and len(fake.CALLS) == 1
    assert "the time is up: finishing chunk 1" in ran.err and "kept out.partial.mp4" in ran.err


def test_deterministic_prepares_cublas(run, fake, job, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    run("render", job(), "--deterministic")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8" and fake.CALLS[0][1].deterministic


def test_low_vram_reaches_the_render(run, job, fake):
    run("render", job(), "--low-vram", "on")
    run("render", job())
    assert [options.low_vram for _, options in fake.CALLS] == ["on", "auto"]
    assert run("render", job(), "--low-vram", "yes").code == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.5", 0.5),
        ("90s", 90),
        ("10m", 600),
        ("10min", 600),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1H 5s", 3605),
    ],
)
def test_a_time_limit_may_have_units(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["0", "0s", "nan", "-1", "m", "10x", "1m1h", "", "1e9"])
def test_an_invalid_time_limit_is_a_usage_error(run, fake, job, text):
    ran = run("render", job(), f"--timeout={text}")
    assert (ran.code, fake.CALLS) == (2, []) and "such as 90s, 10m or 1h30m" in ran.err


@pytest.mark.parametrize(("text", "size"), [("500MB", 500_000_000), ("64 GiB", 64 << 30), ("1.5kB", 1500), ("7", 7)])
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "x", "0", "-1GB", "5 parsecs"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="500MB"):
        parse_bytes(text)
