from __future__ import annotations

import json
from typing import Any

import pytest

from scope_batch.errors import JobError
from scope_batch.job import Job, load_text, parse_job
from scope_batch.job.chunk_spec import ChunkSpec
from scope_batch.job.expression import Expression
from scope_batch.job.schedule import Schedule


def schedule(written: str) -> Schedule[float]:
    loaded = load_text(f"prompt: a\nnoise_scale: {written}", name="j", environ={"HALF": "0.5"}).noise_scale
    assert loaded is not None
    return loaded


def keys(written: str) -> list[tuple[Any, Any]]:
    def plain(part: float | Expression) -> Any:
        return part.text if isinstance(part, Expression) else part

    return [(plain(key.frame), plain(key.value)) for key in schedule(written).keys]


def problem(written: str, field: str = "noise_scale") -> str:
    with pytest.raises(JobError) as caught:
        load_text(f"prompt: a\n{field}: {written}", name="j", environ={})
    (line,) = caught.value.problems
    assert line.isprintable()
    return line


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{0: 0, 48: 1}", [(0, 0.0), (48, 1.0)]),
        ("{48: 1, '0': 0}", [(0, 0.0), (48, 1.0)]),
        ("\n  0: ${HALF}", [(0, 0.5)]),
        ('"0:(0.0), max_f/2:(1.0 - 0.5*sin(t))"', [(0, 0.0), ("max_f/2", "1.0 - 0.5*sin(t)")]),
        ('"0:(0.5)"', [(0, 0.5)]),
        ('" 0 : ( 0.5 ) ,\\n 12:(1) , "', [(0, 0.5), (12, 1.0)]),
        ('"0:(max(0.1, min(t/9, (1)))), 24:(-0)"', [(0, "max(0.1, min(t/9, (1)))"), (24, 0.0)]),
        ('"0:((t+1)/(t+2))"', [(0, "(t+1)/(t+2)")]),
        ("'0:(0), \"max_f\":(1)'", [(0, 0.0), ("max_f", 1.0)]),
        ('"min(9, max_f):(1)"', [("min(9, max_f)", 1.0)]),
    ],
)
def test_keyframes_of_a_map_and_of_a_text(written: str, expected: list[tuple[Any, Any]]) -> None:
    assert keys(written) == expected


def test_keys_of_parsed_values_may_be_numbers() -> None:
    for key in (0, "0"):
        loaded = parse_job({"prompt": "a", "noise_scale": {key: 0.5}}).noise_scale
        assert loaded is not None and loaded.keys[0].frame == 0


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("{}", "j:2:14: noise_scale: must hold at least one keyframe, such as {0: 0.5, 48: 1.0}"),
        ("{0: 2}", "j:2:18: noise_scale.0: must be a number in 0..1, not 2"),
        ("{0: x}", "j:2:18: noise_scale.0: must be a number, not 'x'"),
        ("{0: [1]}", "j:2:18: noise_scale.0: must be a number, not a list"),
        ("{-1: 1}", "j:2:15: noise_scale.-1: a keyframe's key is an output frame in 0..10000000, not '-1'"),
        ("{1.5: 1}", "j:2:15: noise_scale.1.5: a keyframe's key is an output frame in 0..10000000, not '1.5'"),
        ("{007: 1}", "j:2:15: noise_scale.007: a keyframe's key is an output frame in 0..10000000, not '007'"),
        ("{99999999: 1}", "j:2:15: noise_scale.99999999: a keyframe's key is an output frame in 0..10000000, "
         "not '99999999'"),
        ("half", 'j:2:14: noise_scale: must be a number, a list of numbers, a map of keyframes {0: 0.5, 48: 1.0}, or a '
         "text of keyframes \"0:(0.5), 48:(0.5 + 0.1*sin(t))\", not 'half'"),
        ('"0:0.5"', "j:2:14: noise_scale: '0:0.5': a keyframe's value needs parentheses, such as "
         '"0:(0.5), 48:(0.5 + 0.1*sin(t))"'),
        ('"0:(1"', "j:2:14: noise_scale: '0:(1': a keyframe's value needs parentheses, such as "
         '"0:(0.5), 48:(0.5 + 0.1*sin(t))"'),
        ('"0:(1)(2)"', "j:2:14: noise_scale: '0:(1)(2)': a keyframe's value needs parentheses, such as "
         '"0:(0.5), 48:(0.5 + 0.1*sin(t))"'),
        ('":(1)"', "j:2:14: noise_scale: ':(1)' is not a keyframe, frame:(value), such as "
         '"0:(0.5), 48:(0.5 + 0.1*sin(t))"'),
        ('"0:(1),,"', "j:2:14: noise_scale: '' is not a keyframe, frame:(value), such as "
         '"0:(0.5), 48:(0.5 + 0.1*sin(t))"'),
        ('"0:(2)"', "j:2:14: noise_scale: must be a number in 0..1, not 2.0"),
        ('"0:(speed)"', "j:2:14: noise_scale: 'speed' is unknown; the names are chunk, e, max_f, pi, s, sec, t"),
        ('"t:(1)"', "j:2:14: noise_scale: 't' is unknown; the names are e, max_f, pi, s"),
        ('"0:()"', "j:2:14: noise_scale: an expression is empty"),
    ],
)  # fmt: skip
def test_a_bad_schedule_is_one_line(written: str, line: str) -> None:
    assert problem(written) == line


def test_a_deep_or_endless_text_is_one_line() -> None:
    assert "at most 4000" in problem(f'"0:({"(" * 10_000}1{")" * 10_000})"')
    assert "at most 100000" in problem('"' + "0:(1)," * 50_000 + '"')


def test_a_seed_takes_no_keyframes() -> None:
    assert problem("{0: 1}", "seed") == "j:2:7: seed: must be a whole number or a list of them, not a map"
    assert "or a list of them" in problem('"0:(1)"', "seed")


WRITTEN = [0.5, [0.5, 1.0], {"0": 0.0, "48": 1.0}, "0:(0.0), max_f/2:(1.0 - 0.5*sin(t)), "]


@pytest.mark.parametrize("written", WRITTEN, ids=str)
def test_it_is_written_as_the_job_had_it(written: Any) -> None:
    job = parse_job({"prompt": "a", "noise_scale": written, "kv_cache_attention_bias": 0.5})
    assert job.noise_scale is not None and job.noise_scale.written() == written
    assert json.loads(job.canonical_json())["noise_scale"] == written == job.to_public_dict()["noise_scale"]
    assert parse_job(json.loads(job.canonical_json())).canonical_json() == job.canonical_json()


@pytest.mark.parametrize(
    ("written", "constant"),
    [("1", 1.0), ("[1, 1]", 1.0), ("{0: 1, 9: 1}", 1.0), ('"0:(1)"', 1.0), ("[0, 1]", None), ('"0:(0+1)"', None)],
)
def test_one_number_for_the_whole_job_is_its_constant(written: str, constant: float | None) -> None:
    assert schedule(written).constant == constant


@pytest.mark.parametrize("number", [10**400, -(10**400)], ids=["large", "small"])
@pytest.mark.parametrize("field", sorted({*Job.model_fields, *ChunkSpec.model_fields} - {"chunk"}))  # of any size
def test_a_number_that_no_float_holds_is_refused(field: str, number: int) -> None:
    in_entries = field not in Job.model_fields
    fields = {"chunk_specs": [{"chunk": 0, field: number}]} if in_entries else {field: number}
    with pytest.raises(JobError):
        parse_job({"pipeline_id": "slate", "prompt": "a cat"} | fields)
