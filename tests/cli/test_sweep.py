"""Checks what `render` and `plan` make of a job with a sweep."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

JOB = "pipeline_id: slate\nprompt: a cat\nnum_frames: 36\n"


def write(text: str, name: str = "job.yaml") -> str:
    Path(name).write_text(JOB + text)
    return name


def outputs(fake) -> list[str]:
    return [options.outputs[0] if options.outputs else f"{stem}.mp4" for stem, options in fake.CALLS]


def test_keys_stand_in_the_names_of_outputs(run, fake):
    name = write("sweep: {seed: [1, 2], chunk_specs.0.text: [a dog]}\nchunk_specs: [{chunk: 1}]\n")
    ran = run("render", name, "-o", "out/{job}-{seed}-{chunk_specs.0.text}.mp4", "--preview", "{seed}.png")
    assert ran.code == 0 and outputs(fake) == ["out/job-1-a_dog.mp4", "out/job-2-a_dog.mp4"]
    assert [str(options.preview) for _, options in fake.CALLS] == ["1.png", "2.png"]


def test_an_output_without_a_name_has_the_values_in_it(run, fake):
    assert run("render", write(""), "--sweep", "seed=1,2", "--sweep", "prompt=a cow").code == 0
    assert outputs(fake) == ["job-1-a_cow.mp4", "job-2-a_cow.mp4"]


def names_of_plans(ran) -> list[list[str]]:
    return [[output["path"] for output in plan["outputs"]] for plan in json.loads(ran.out)]


def test_the_outputs_of_the_job_are_patterns_or_get_the_values(run):
    outputs = "output: ['{seed}/a.mp4', b.npy, c/%05d.png, '{job}.mkv']\n"
    ran = run("plan", write(f"{outputs}sweep: {{seed: [1, 2]}}\n"), "--json")
    assert names_of_plans(ran)[1] == ["2/a.mp4", "b-2.npy", "c-2/%05d.png", "job-2.mkv"]


def test_outputs_that_are_swept_are_taken_as_they_are(run):
    ran = run("plan", write(""), "--sweep", "output=a.mp4,b.npy", "--json")
    assert names_of_plans(ran) == [["a.mp4"], ["b.npy"]]
    ran = run("plan", "job.yaml", "--sweep", "output=a.mp4,b.npy", "--sweep", "seed=1,2")
    assert ran.code == 65 and len(ran.errors) == 1
    assert "output: a.mp4: the jobs of a sweep need {seed} in it" in ran.errors[0]


def test_a_line_for_each_job_shows_its_values(run):
    name = write("sweep: {seed: [1, 1001], prompt: [a cat, busy]}\n")
    ran = run("render", name)
    assert ran.code == 75
    assert ran.err.splitlines()[-5:] == [
        "job.yaml  seed=1     prompt=a cat  done: 36 frames in 2.0 s -> job-1-a_cat.mp4",
        "job.yaml  seed=1     prompt=busy   failed (75): the encoder was killed",
        "job.yaml  seed=1001  prompt=a cat  done: 36 frames in 2.0 s -> job-1001-a_cat.mp4",
        "job.yaml  seed=1001  prompt=busy   failed (75): the encoder was killed",
        "2 of 4 jobs rendered, 2 failed",
    ]
    assert "job 3 of 4: job.yaml  seed=1001  prompt=a cat" in ran.err.splitlines()


def test_a_sweep_beside_other_jobs(run, fake):
    ran = run("render", write("", "a.yaml"), write("sweep: {seed: [1, 2]}\n", "b.yaml"), "missing.yaml")
    assert ran.code == 66 and outputs(fake) == ["a.mp4", "b-1.mp4", "b-2.mp4"]
    assert ran.err.splitlines()[-1] == "3 of 4 jobs rendered, 1 failed"


def test_plan_prints_each_job_of_a_sweep(run):
    ran = run("plan", write("sweep: {seed: [1, 2]}\n"))
    heads = [line for line in ran.out.splitlines() if line.startswith(("job ", "output: "))]
    assert [head.partition(" (")[0] for head in heads] == [
        "job 1 of 2: job.yaml  seed=1", "output: job-1.mp4", "job 2 of 2: job.yaml  seed=2", "output: job-2.mp4",
    ]  # fmt: skip
    plans = json.loads(run("plan", "job.yaml", "--sweep", "seed=5,6", "--json").out)
    assert [(plan["job"], plan["sweep"], plan["chunks"][0]["seed"]) for plan in plans] == [
        ("job.yaml", {"seed": 5}, 5), ("job.yaml", {"seed": 6}, 6),
    ]  # fmt: skip
    assert run("render", "job.yaml", "--dry-run").out.count("job-") == 2


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", "-o out.mp4 --sweep seed=1,2", "-o out.mp4: the jobs of a sweep need {seed} in it (or {hash8})"),
        (
            "",
            "-o {seed}.mp4 --sweep seed=1,2 --sweep prompt=a,b",
            "-o {seed}.mp4: the jobs of a sweep need {prompt} in",
        ),
        ("", "-o {fps}.mp4 --sweep seed=1,2", "-o {fps}.mp4: {fps} is not known (only keys that a sweep gives values"),
        ("", "-o {name}.mp4 --sweep seed=1,2", "-o {name}.mp4: {name} is not known; allowed: {job}"),
        ("", "--latents l.safetensors --sweep seed=1,2", "--latents l.safetensors: the jobs of a sweep need {seed}"),
        ("", "-o - --sweep seed=1,2", "standard output (-) takes the frames of one job only"),
        ("", "--sweep prompt=a/b,a?b", "two jobs would write "),
        ("", "--sweep seed=1 --sweep seed=2", "--sweep seed: is given twice"),
        ("sweep: {seed: [1]}\n", "--set seed=2", "--set seed=2: seed is swept; --sweep seed=VALUE gives it a single"),
    ],
)
def test_usage_errors_are_one_line_and_nothing_is_rendered(run, fake, text, options, message):
    ran = run("render", write(text), *options.split())
    assert (ran.code, len(ran.errors), fake.CALLS) == (2, 1, [])
    assert ran.errors[0].startswith(f"error: {message}")


def test_a_pattern_of_the_job_that_lacks_a_key_has_its_place(run, fake):
    ran = run("render", write("output: '{seed}.mp4'\nsweep: {seed: [1, 2], prompt: [a, b]}\n"))
    assert ran.code == 65 and not fake.CALLS and len(ran.errors) == 1
    assert ran.errors[0].startswith("error: job.yaml:4:1: output: {seed}.mp4: the jobs of a sweep need {prompt} in it")


def test_a_hash_tells_the_jobs_of_a_sweep_apart(run, fake):
    assert run("render", write(""), "--sweep", "seed=1,2", "-o", "{hash8}.mp4").code == 0
    assert len(set(outputs(fake))) == 2


def test_a_verb_of_one_job_refuses_a_sweep(run):
    ran = run("compare", write("sweep: {seed: [1, 2]}\n"), "a.npy")
    assert ran.code == 65 and "job.yaml:4:9: sweep: makes several jobs, as render and plan take them" in ran.errors[0]


def test_json_lines_name_the_job_with_its_values(run):
    ran = run("render", write("sweep: {seed: [1, 2]}\n"), "--progress", "json")
    names = {json.loads(line)["job"] for line in ran.err.splitlines()}
    assert names == {"job.yaml seed=1", "job.yaml seed=2"}


@pytest.fixture
def films(monkeypatch, fake):
    """Makes the fake render write an array, which is as bright as its seed."""
    import scope_batch.render.loop

    def render(job, stem, options, *others):
        finished = fake.render_job(job, stem, options, *others)
        np.save(options.outputs[0], np.full((3, 32, 64, 3), job.seed.at(0), np.uint8))
        return finished

    monkeypatch.setattr(scope_batch.render.loop, "render_job", render)


@pytest.mark.usefixtures("films")
def test_the_sheet_shows_each_job(run):
    ran = run("render", write(""), "--sweep", "seed=100,200", "-o", "{seed}.npy", "--sheet", "out/s.png")
    assert ran.code == 0 and ran.err.splitlines()[-1] == "wrote out/s.png"
    with Image.open("out/s.png") as sheet:
        row = np.asarray(sheet.convert("RGB"))[50, :, 0]
    assert {100, 200} <= set(row.tolist())


@pytest.mark.usefixtures("films")
def test_a_sheet_is_written_without_the_jobs_that_failed(run):
    options = ("-o", "{prompt}.npy", "--sheet", "s.png")
    ran = run("render", write("seed: 100\n"), "--sweep", "prompt=a cat,busy", *options)
    assert ran.code == 75 and Path("s.png").exists()
    assert run("render", "job.yaml", "--sweep", "prompt=busy,bad", "-o", "{prompt}.npy", "--sheet", "t.png").code == 75
    assert not Path("t.png").exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("--sheet s.jpg", 2, "--sheet s.jpg: must end in .png"),
        ("-o - --sheet s.png", 2, "--sheet s.png: job.yaml writes no file whose frames it could show"),
        ("--sheet mine.png", 73, "mine.png: exists; replace it with --overwrite"),
        ("--sheet job.yaml/s.png", 74, "job.yaml/s.png: /"),
        ("--preview s.png --sheet ./s.png", 2, "--sheet s.png: job.yaml writes that file"),
    ],
)
def test_a_sheet_that_cannot_be_written_stops_before_the_first_job(run, fake, options, code, message):
    Image.new("RGB", (8, 8)).save("mine.png")
    ran = run("render", write(""), *options.split())
    assert (ran.code, fake.CALLS) == (code, []) and ran.errors[0].startswith(f"error: {message}")


@pytest.mark.usefixtures("films")
def test_a_sheet_of_an_earlier_run_is_replaced(run):
    command = ("render", write(""), "-o", "a.npy", "--sheet", "s.png")
    assert [run(*command).code for _ in range(2)] == [0, 0]


def test_the_engine_is_told_the_prompts_of_all_jobs_that_are_left(run, monkeypatch):
    told = []
    monkeypatch.setattr("scope_batch.render.engine_pool.Engines", lambda texts: told.append(texts) or object())
    Path("job-a.mp4").touch()
    write("chunk_specs: [{chunk: 1, text: b}, {chunk: 2, prompts: [{text: c}, {text: d}]}, {chunk: 3, seed: 1}]\n")
    run("render", "job.yaml", "--sweep", "prompt=a,e,f")
    assert told == [("e", "b", "c", "d", "f")]
