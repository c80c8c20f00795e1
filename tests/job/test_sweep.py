from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest

from scope_batch.errors import JobError, MissingInputError, UsageError
from scope_batch.job import load_text
from scope_batch.job.json_schema import job_file_schema
from scope_batch.job.load import SweptJob, load_sweep
from scope_batch.job.sweep import file_name_parts

NO_MAP = "must be a map of keys and lists of values, such as {seed: [1, 1001]}"
JOB = "prompt: a cat\nnum_frames: 9\n"


def sweep(text: str, *sweeps: str, overrides: tuple[str, ...] = ()) -> list[SweptJob]:
    return load_sweep(text, name="j.yaml", folder=Path("/jobs"), sweeps=sweeps, overrides=overrides)


def refusal(text: str, *sweeps: str, overrides: tuple[str, ...] = ()) -> str:
    with pytest.raises((JobError, UsageError, MissingInputError)) as caught:
        sweep(text, *sweeps, overrides=overrides)
    return f"{caught.value.exit_code} {caught.value}"


def test_every_combination_is_a_job_and_the_last_key_varies_fastest() -> None:
    jobs = sweep(JOB + "sweep: {seed: [1, 2], noise_scale: [0.5, 0.70]}")
    assert [each.swept for each in jobs] == [
        {"seed": 1, "noise_scale": 0.5},
        {"seed": 1, "noise_scale": 0.7},
        {"seed": 2, "noise_scale": 0.5},
        {"seed": 2, "noise_scale": 0.7},
    ]
    assert [each.job.seed.at(0) for each in jobs] == [1, 1, 2, 2]


def test_each_job_is_the_single_job_with_that_value() -> None:
    (first, _) = sweep(JOB + "sweep: {chunk_specs.0.text: [a dog, a bird]}\nchunk_specs: [{chunk: 1, text: a cow}]")
    alone = load_text(JOB + "chunk_specs: [{chunk: 1, text: a dog}]", name="j.yaml")
    assert first.job.canonical_json() == alone.canonical_json()


def test_a_key_of_the_command_line_replaces_that_of_the_file() -> None:
    jobs = sweep(JOB + "sweep: {seed: [1, 2], num_frames: [9, 21]}", "seed=7")
    assert [(each.job.seed.at(0), each.job.num_frames) for each in jobs] == [(7, 9), (7, 21)]


def test_what_loads_models_anew_varies_slowest() -> None:
    jobs = sweep(JOB, "seed=1,2", "vae_type=wan,tae")
    assert [(each.job.vae_type, each.job.seed.at(0)) for each in jobs] == [
        ("wan", 1), ("wan", 2), ("tae", 1), ("tae", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("seed=1,2", [1, 2]),
        ("seed= 1 , 2 ", [1, 2]),
        ("seed=[1, 2]", [1, 2]),
        ("noise_scale=null,1e-1", [None, 0.1]),
        ("noise_scale=[[0.8, 0.7], {0: 1, 9: 0.5}]", [[0.8, 0.7], {"0": 1, "9": 0.5}]),
        ("prompt=a cat, a dog: running,it's", ["a cat", "a dog: running", "it's"]),
        ("prompt=['a cat, asleep', b]", ["a cat, asleep", "b"]),
        ("chunk_specs.0={chunk: 1}", [{"chunk": 1}]),
    ],
)
def test_values_of_the_command_line(option: str, values: list[object]) -> None:
    text = JOB + "input_path: /a.mp4\n"
    assert [list(each.swept.values()) for each in sweep(text, option)] == [[value] for value in values]


def test_a_file_has_a_value_in_each_line_or_is_a_list(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a cat, asleep\na dog\n")
    (tmp_path / "p.yaml").write_text('- "a cat, asleep"\n- a dog\n')
    for name in ("p.txt", "p.yaml"):
        jobs = sweep(JOB, f"prompt=@{tmp_path / name}")
        assert [each.job.prompt[0].text for each in jobs] == ["a cat, asleep", "a dog"]


def test_paths_start_at_the_folder_of_their_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (in_file,) = sweep(JOB + "sweep: {input_path: [clips/a.mp4]}")
    (in_option,) = sweep(JOB, "input_path=clips/a.mp4")
    assert (in_file.job.input_path, in_option.job.input_path) == (
        Path("/jobs/clips/a.mp4"), tmp_path / "clips" / "a.mp4",
    )  # fmt: skip


def test_variables_are_replaced_in_the_file_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "a cow")
    assert sweep(JOB + "sweep: {prompt: ['${WHO}']}")[0].job.prompt[0].text == "a cow"
    assert sweep(JOB, "prompt=${WHO}")[0].job.prompt[0].text == "${WHO}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sweep: 3", f"65 j.yaml:3:1: sweep: {NO_MAP}, not 3"),
        ("sweep: {}", f"65 j.yaml:3:1: sweep: {NO_MAP}, not empty"),
        ("sweep: {seed: 1}", "65 j.yaml:3:9: sweep.seed: must be a list of values, not 1"),
        ("sweep: {seed: []}", "65 j.yaml:3:9: sweep.seed: has no values"),
        ("sweep: {prompt: ['']}", "65 j.yaml:3:9: sweep.prompt: a value is empty"),
        ("sweep: {seed: [1, 1]}", "65 j.yaml:3:9: sweep.seed: 1 is there twice; each value makes a job"),
        ("sweep: {sed: [1, 2]}", "65 j.yaml:3:9: sed: unknown key (did you mean seed?)"),
        ("sweep: {seed: [1, x]}", "65 j.yaml:3:19: seed: must be a whole number or a list of them, not 'x'"),
        ("sweep: {a..b: [1]}", "65 j.yaml:3:9: sweep: 'a..b' is not a key such as seed or chunk_specs.0.text"),
        ("sweep: {sweep: [1]}", "65 j.yaml:3:9: sweep: a sweep cannot be swept"),
        (
            "sweep: {chunk_specs.0.text: [a], chunk_specs: [[]]}",
            "65 j.yaml:3:34: chunk_specs.0.text is a part of chunk_specs, which is swept as well",
        ),
        (
            f"sweep: {{seed: {[*range(40)]}, num_frames: {[*range(1, 31)]}}}",
            "65 j.yaml:3:9: the sweep makes 40 x 30 = 1200 jobs; at most 1000 are allowed",
        ),
    ],
)  # fmt: skip
def test_a_bad_sweep_in_the_file_is_one_line_with_its_place(text: str, message: str) -> None:
    assert refusal(f"{JOB}{text}\n") == message


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("seed", "2 --sweep seed: has no values; write --sweep KEY=V1,V2"),
        ("=1", "2 --sweep =1: has no values; write --sweep KEY=V1,V2"),
        ("seed=", "2 --sweep seed: a value between commas is empty (null: the field's default)"),
        ("seed=1,,2", "2 --sweep seed: a value between commas is empty (null: the field's default)"),
        ("seed=1,1", "65 --sweep seed: 1 is there twice; each value makes a job"),
        ("seed=[]", "65 --sweep seed: has no values"),
        ("sed=1", "65 --sweep sed: sed: unknown key (did you mean seed?)"),
        ("seed=1,x", "65 --sweep seed: seed: must be a whole number or a list of them, not 'x'"),
        ("a..b=1", "2 --sweep a..b: not a key such as seed, video.crf or chunk_specs.0.text"),
        (
            'prompt="a, b",c',
            """2 --sweep prompt: values in quotes or braces need a list: --sweep 'prompt=["a, b", "c"]'""",
        ),
        ("seed=@/dev/zero", "65 /dev/zero: larger than 4 MiB, not a job file"),
        ("seed=@no.txt", "66 --sweep seed=@no.txt: No such file or directory"),
        (f"seed=[{','.join(map(str, range(1001)))}]",
         "65 --sweep seed: the sweep makes 1001 = 1001 jobs; at most 1000 are allowed"),
    ],
)  # fmt: skip
def test_a_bad_sweep_of_the_command_line_is_one_line(option: str, message: str) -> None:
    assert refusal(JOB, option) == message


def test_an_empty_line_of_a_file_has_its_place(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a cat\n\na dog\n")
    assert refusal(JOB, f"prompt=@{tmp_path}/p.txt").endswith(
        "p.txt:2:1: is empty; every line is a value of --sweep prompt"
    )


def test_a_bad_line_of_a_file_has_its_place(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("1\nx\n")
    assert refusal(JOB, f"seed=@{tmp_path}/s.txt").endswith(
        "s.txt:2:1: seed: must be a whole number or a list of them, not 'x'"
    )


def test_a_problem_of_all_jobs_is_one_line() -> None:
    assert refusal(JOB + "fpss: 3", "seed=1,2,3") == "65 j.yaml:3:1: fpss: unknown key (did you mean fps?)"


def test_every_wrong_value_is_told_once() -> None:
    text = JOB + "sweep:\n  fps: [8, 16]\n  seed: [x, 1, y]\n"
    wrong = "seed: must be a whole number or a list of them, not"
    assert refusal(text) == f"65 j.yaml:5:10: {wrong} 'x'\nj.yaml:5:16: {wrong} 'y'"


@pytest.mark.parametrize("override", ["seed=3", "chunk_specs.0.text=a", "chunk_specs=[]"])
def test_set_and_sweep_of_one_key_contradict_each_other(override: str) -> None:
    text = JOB + "sweep: {seed: [1], chunk_specs.0: [{chunk: 1}]}"
    assert refusal(text, overrides=(override,)).startswith(f"2 --set {override}: ")


def test_a_key_twice_on_the_command_line_is_refused() -> None:
    assert refusal(JOB, "seed=1", "seed=2") == "2 --sweep seed: is given twice"


def test_one_job_does_not_take_a_sweep() -> None:
    text = JOB + "sweep: {seed: [1]}"
    with pytest.raises(JobError, match=r"^j\.yaml:3:9: sweep: makes several jobs, as render and plan take them"):
        load_text(text, name="j.yaml")
    assert load_text(text, name="j.yaml", overrides=["sweep=null"]).seed.at(0) == 42
    assert len(sweep(text, overrides=("sweep=null",))) == 1
    with pytest.raises(UsageError, match=r"--set sweep\.seed=2: --sweep KEY=V1,V2 says what is swept"):
        load_text(text, name="j.yaml", overrides=["sweep.seed=2"])


def test_texts_for_file_names() -> None:
    def part(key: str, value: object) -> str:
        return file_name_parts({key: value})[key]

    assert part("noise_scale", 0.5) == "0.5" and part("lora_scales.a.safetensors", -1) == "-1"
    assert part("prompt", "../a cat, Größe 3/4?") == "a_cat_Größe_3_4" and part("prompt", "???") == "_"
    assert part("input_path", "clips/street.mp4") == "street" and part("noise_scale", [0.8, 0.7]) == "0.8_0.7"
    long, other = part("prompt", "a " * 60 + "cat"), part("prompt", "a " * 60 + "dog")
    assert long != other and len(long) < 80


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ({"prompt": "a", "sweep": {"seed": [1, 2]}}, True),
        ({"sweep": {"prompt": ["a", "b"]}}, True),
        ({"prompt": "a", "sweep": None}, True),
        ({"num_frames": 9}, False),
        ({"prompt": "a", "sweep": {"seed": 1}}, False),
        ({"prompt": "a", "sweep": {"seed": []}}, False),
        ({"prompt": "a", "sweep": {}}, False),
    ],
)
def test_the_schema_agrees_with_the_loader(text: dict[str, object], valid: bool) -> None:
    assert jsonschema_rs.is_valid(job_file_schema(), text) is valid
    if valid:
        assert sweep(json.dumps(text))
    else:
        refusal(json.dumps(text))
