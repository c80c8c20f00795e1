"""Tests that each bad job is refused with one clear line that names the place."""

import difflib
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from scope_batch.errors import JobError
from scope_batch.job import load_text
from scope_batch.job.faults import message_of
from scope_batch.pipelines import PIPELINES
from tests.effort import calls_made, growth

BOMB = "\n".join(
    ["a: &a [x,x,x,x,x,x,x,x,x]"]
    + [f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefg", "bcdefgh", strict=True)]
)

WHOLE = [
    ("", "j: is empty; a job needs at least a prompt"),
    ("- a", "j:1:1: a job is a map of fields, such as `prompt: a cat`"),
    ("seed: 1", "j:1:1: prompt: is required"),
    ("prompt: a\nprompt: b", "j:2:1: the key prompt is here twice, first in line 1"),
    (BOMB, "j:5:11: aliases refer to more than 20000 values"),
    ("[" * 65 + "]" * 65, "j:1:65: nested deeper than 64 levels"),
    ("a: &a [*a]", "j:1:8: the alias *a has no anchor before it"),
    ("prompt: a\n---\nprompt: b", "j:2:1: a second document; a job file holds one"),
    ("prompt: 'a", "j:1:11: not valid YAML: the closing quote is missing"),
    ("prompt: a\n\tseed: 1", "j:2:1: not valid YAML: a tab indents this line; indent with spaces"),
    ("prompt: a\nx: \0", "j:2:4: not valid YAML: a control character"),
    ("prompt: {text: a}", "j:1:9: prompt: must be a text or a list of {text, weight}, not a map"),
    ("prompt: 3", "j:1:9: prompt: must be a text or a list of {text, weight}, not 3; quotes make a text of it"),
    ("prompt: []", "j:1:9: prompt: must not be empty"),
    ("prompt: [{text: a, weight: -1}]", "j:1:28: prompt[0].weight: must be at least 0, not -1"),
    ("prompt: [{text: a, weight: 0}]", "j:1:9: prompt: weights must not all be zero"),
    ("prompt: [{text: a, weigth: 1}]", "j:1:20: prompt[0].weigth: unknown key (did you mean weight?)"),
    ("prompt: [{weight: 1}]", "j:1:10: prompt[0].text: is required"),
    (
        "prompt: ${NOWHERE}",
        "j:1:9: prompt: the environment variable NOWHERE is not set; ${NOWHERE:-default} gives a default",
    ),
    ("prompt: ${NOWHERE:?say what}", "j:1:9: prompt: the environment variable NOWHERE is not set: say what"),
    (
        "prompt: ${1x}",
        "j:1:9: prompt: ${ must be followed by NAME}, NAME:-default} or NAME:?message}; $${ is a literal ${",
    ),
]

SECOND_LINE = [
    ("foo: 1", "1: foo: unknown key"),
    ("num_frame:", "1: num_frame: unknown key (did you mean num_frames?)"),
    ("num_frame: 1", "1: num_frame: unknown key (did you mean num_frames?)"),
    ("time: 3", "1: time: unknown key here (it belongs in an entry of chunk_specs)"),
    ("height: 479", "9: height: must be a multiple of 16, not 479 (464 and 480 are)"),
    ("height: 48", "9: height: must be at least 64, not 48"),
    ("width: 4096", "8: width: must be at most 2048, not 4096"),
    ("width: '832'", "8: width: must be a whole number, not '832'"),
    ("num_frames: 0", "13: num_frames: must be at least 1, not 0"),
    ("num_frames: 1000000000000", "13: num_frames: must be at most 10000000 (a week of video), not 1000000000000"),
    ("num_frames: 4.5", "13: num_frames: must be a whole number of frames or the word input, not 4.5"),
    ("num_frames: input", "13: num_frames: input needs an input_path"),
    ("audio: input", "8: audio: input needs an input_path"),
    ("seed: -1",
     "7: seed: must be a whole number in 0..9007199254740992, not -1; there is no random seed: the same job makes the "
     "same video"),
    ("seed: no", "7: seed: must be a whole number or a list of them, not 'no'"),
    ("seed: 010", '7: 010 is read as different numbers by different tools: write 10, or "010" for a text'),
    ("seed: 1_000", '7: 1_000 is read as different numbers by different tools: write 1000, or "1_000" for a text'),
    ("seed: [1, x]", "11: seed[1]: must be a whole number or a list of them, not 'x'"),
    ("noise_scale: 1.5", "14: noise_scale: must be a number in 0..1, not 1.5"),
    ("noise_scale: .nan", "14: .nan is not a number that a job can use"),
    ("noise_scale: 1e999", "14: 1e999 is too large"),
    ("noise_scale: []", "14: noise_scale: must hold at least one number"),
    ("manage_cache: yes", "15: manage_cache: must be true or false, not 'yes'"),
    ("denoising_steps: 4",
     "18: denoising_steps: must be a list of timesteps, such as [1000, 750, 500, 250], not a number (4)"),
    ("lora_scales: a.safetensors",
     "14: lora_scales: must be a map {file.safetensors: scale}, not 'a.safetensors'"),
    ("input_path: C:\\clips\\a.mp4",
     "13: input_path: is a Windows path, which this machine does not have (under WSL it is /mnt/c/clips/a.mp4)"),
    ("output: c:/out/a.mp4",
     "9: output: is a Windows path, which this machine does not have (under WSL it is /mnt/c/out/a.mp4)"),
    ("output: out\\a.mp4", "9: output: \\ does not separate folders on this machine: write out/a.mp4"),
    ('input_path: "clips\\new.mp4"',
     "13: input_path: holds a line break, a tab or the like: in double quotes \\ begins an escape; write a path with "
     "/ or in single quotes"),
    ("denoising_steps: []", "18: denoising_steps: must not be empty"),
    ("denoising_steps: [1000, 0]", "25: denoising_steps[1]: must be at least 1, not 0"),
    ("version: 2", "10: version: unknown version 2; this program reads version 1"),
    ("version: true", "10: version: must be a whole number, not true"),
    ("pipeline_id: longlve", f"14: pipeline_id: unknown pipeline 'longlve'; available: {', '.join(PIPELINES)}"),
    ("fit: croop", "6: fit: must be 'crop', 'pad' or 'stretch', not 'croop'"),
    ("fps: 0", "6: fps: must be more than 0 and at most 1000 frames per second, not 0"),
    ("fps: '1e999999999'", "6: fps: must be frames per second, such as 16, 29.97 or \"30000/1001\", not '1e999999999'"),
    ("fps: 1/0", "6: fps: must be frames per second, such as 16, 29.97 or \"30000/1001\", not '1/0'"),
    ("input_end: 1:99", "12: input_end: must be seconds or \"MM:SS.mmm\", not '1:99'"),
    ("input_end: 0", "12: input_end: must be after input_start (0 s), not 0 s"),
    ("input_path: ''", "13: input_path: must be a path, not empty"),
    ('input_path: "a\\0b"', "13: input_path: must be a path without NUL bytes"),
    ("output: {codec: ffv1}", "9: output.path: is required"),
    ("output: [a.mp4, {path: b.mp4, crf: 99}]", "36: output[1].crf: must be at most 63, not 99"),
    ("video: {crff: 1}", "9: video.crff: unknown key (did you mean crf?)"),
    ("x: !!python/object/apply:os.system [ls]",
     "4: the tag tag:yaml.org,2002:python/object/apply:os.system is not allowed; a job holds plain values"),
    ("? [a]\n: b", "3: a key must be a plain text"),
]  # fmt: skip

NULLS = [
    ("{}: null", ""),
    ("chunk_specs: [{{chunk: 1, {}: null}}]", "chunk_specs[0]."),
    ("chunk_specs: [{{chunk: 1, prompts: [{{text: a, {}: null}}]}}]", "chunk_specs[0].prompts[0]."),
    ("chunk_prompts: [{{chunk: 1, text: b, {}: null}}]", "chunk_prompts[0]."),
    ("first_frames: [{{chunk: 1, image: a.png, {}: null}}]", "first_frames[0]."),
    ("vace_ref_images: [{{chunk: 1, images: [a.png], {}: null}}]", "vace_ref_images[0]."),
    ("output: {{path: a.mp4, {}: null}}", "output."),
    ("video: {{{}: null}}", "video."),
    ("post_processor_id: {{id: gray, {}: null}}", "post_processor_id."),
]

COMMAS = [
    ("text: masterpiece, best quality, a dog",
     '33: chunk_specs[0].best quality: unknown key without a value; a comma ends a text inside { }, '
     'put the text in quotes: text: "masterpiece, best quality, a dog"'),
    ("text: a dog, time",
     '27: chunk_specs[0].time: unknown key without a value; a comma ends a text inside { }, '
     'put the text in quotes: text: "a dog, time"'),
    ("prompts: [{text: a, b, weight: 1}]",
     '34: chunk_specs[0].prompts[0].b: unknown key without a value; a comma ends a text inside { }, '
     'put the text in quotes: text: "a, b"'),
    ("seed: 1, a dog", "23: chunk_specs[0].a dog: unknown key without a value"),
]  # fmt: skip

NOT_BUILT = [
    ("quantization: int4", "15: quantization: must be 'fp8_e4m3fn', not 'int4'"),
    ("speed: fast", "8: speed: must be 'exact' or 'high', not 'fast'"),
    (
        "speed: high\nquantization: fp8_e4m3fn",
        "8: speed: high also changes the number format of the weights: leave it out, or the quantization in line 3",
    ),
    (
        "post_processor_id: rife",
        "20: post_processor_id: unknown processor 'rife'; available: passthrough, gray, edges, scribble, flow, "
        "upscale, interpolate, depth",
    ),
]

ENTRIES = [
    ("{text: a}", "4: chunk_specs[0]: needs its place: one of chunk, frame and time"),
    ("{chunk: 1, frame: 3}", "15: chunk_specs[0].frame: the place is set twice, first as chunk in line 3"),
    ("{chunk: -1}", "12: chunk_specs[0].chunk: must be at least 0, not -1"),
    ("{chunk: 1, text: a, prompts: [{text: b}]}",
     "24: chunk_specs[0].prompts: the prompt is set twice, first as text in line 3"),
    ("{chunk: 1, text: a, transition_target_prompts: b}",
     "24: chunk_specs[0].transition_target_prompts: the prompt is set twice, first as text in line 3"),
    ("{chunk: 1, transition_num_steps: 4}",
     "15: chunk_specs[0].transition_num_steps: a transition needs its target: text or prompts in the same entry"),
    ("{chunk: 1, noise_scal: 1}", "15: chunk_specs[0].noise_scal: unknown key (did you mean noise_scale?)"),
    ("{chunk: 1, fps: 8}", "15: chunk_specs[0].fps: unknown key here (it belongs at the top level of a job)"),
    ("3", "4: chunk_specs[0]: must be a map of fields, not 3"),
]  # fmt: skip


def problems(text: str, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(JobError) as caught:
        load_text(text, name="j", overrides=overrides, environ={})
    assert caught.value.exit_code == 65
    return caught.value.problems


@pytest.mark.parametrize(("text", "line"), WHOLE)
def test_a_bad_text_is_one_line(text: str, line: str) -> None:
    assert problems(text) == (line,)


def test_an_endlessly_nested_text_is_one_line() -> None:
    (line,) = problems("[" * 100_000)
    assert line.startswith("j:1:") and line.endswith(": nested deeper than 64 levels")


@pytest.mark.parametrize(("text", "line"), SECOND_LINE + NOT_BUILT)
def test_a_bad_field_is_one_line(text: str, line: str) -> None:
    assert problems(f"prompt: a\n{text}") == (f"j:2:{line}",)


@pytest.mark.parametrize(("entry", "line"), ENTRIES)
def test_a_bad_entry_is_one_line(entry: str, line: str) -> None:
    assert problems(f"prompt: a\nchunk_specs:\n - {entry}") == (f"j:3:{line}",)


@pytest.mark.parametrize(("text", "place"), NULLS)
def test_an_unknown_key_is_unknown_without_a_value_too(text: str, place: str) -> None:
    (line,) = problems("prompt: a\n" + text.format("nonsense"))
    assert line.endswith(f": {place}nonsense: unknown key")


def test_a_colon_without_a_space_is_named() -> None:
    line = "j:2:9: video.crf:18: a key without a value; a colon needs a space behind it: crf: 18"
    assert problems("prompt: a\nvideo: {crf:18}") == (line,)


@pytest.mark.parametrize(("entry", "line"), COMMAS)
def test_a_text_cut_short_by_a_comma_is_one_line(entry: str, line: str) -> None:
    assert problems(f"prompt: a\nchunk_specs:\n- {{chunk: 1, {entry}}}") == (f"j:3:{line}",)


def test_overrides_with_unknown_keys_or_commas_are_refused() -> None:
    assert problems("prompt: a", "nonsense=null") == ("--set nonsense: nonsense: unknown key",)
    (line,) = problems("prompt: a", "chunk_specs.0={chunk: 1, text: a, b}")
    assert line.startswith("--set chunk_specs.0: chunk_specs[0].b: unknown key without a value")


def test_a_message_has_no_prefix_of_the_library() -> None:
    assert message_of("value_error", "Value error, must be odd", 2, {}) == "must be odd"
    assert message_of("assertion_error", "Assertion failed, must be odd", 2, {}) == "must be odd"


def test_a_repeated_entry_names_both_lines() -> None:
    text = "prompt: a\nchunk_specs:\n- {chunk: 3}\n- {chunk: 4}\n- {chunk: 3}"
    assert problems(text) == ("j:5:11: chunk_specs[2].chunk: chunk 3 has an entry already in line 3",)


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    text = "prompt: 1\nfoo: 1\nheight: 1\nchunk_specs:\n- {chunk: 1, text: 2, prompts: b}\nfit: x\nfps: ${NO}"
    places = [line.split(": ")[:2] for line in problems(text, "video.crf=x")]
    assert places == [
        ["j:1:9", "prompt"],
        ["j:2:1", "foo"],
        ["j:3:9", "height"],
        ["j:5:20", "chunk_specs[0].text"],
        ["j:5:23", "chunk_specs[0].prompts"],
        ["j:6:6", "fit"],
        ["j:7:6", "fps"],
        ["--set video.crf", "video.crf"],
    ]


def test_a_message_is_one_line_for_any_key() -> None:
    (line,) = problems('prompt: a\n"x\\ny\\e[31m": 1')
    assert line.isprintable()


@pytest.mark.parametrize(("begin", "repeated"), [("", "["), ("prompt: a\nseed: ", "9")])
def test_a_longer_bad_text_takes_no_longer_to_refuse(begin: str, repeated: str) -> None:
    assert growth(lambda length: problems(begin + repeated * length), 100_000) < 1.1


def test_aliases_are_counted_without_following_them() -> None:
    assert calls_made(lambda: problems(BOMB)) < 5000


def test_the_work_to_refuse_a_list_is_in_proportion_to_its_length() -> None:
    assert growth(lambda length: problems("x: [" + "{a: 1}," * length + "]"), 1000) < 2.2


def test_reading_a_job_imports_nothing_heavy() -> None:
    code = (
        "import sys, scope_batch.job as j; j.load_text('prompt: a', name='j'); "
        "print(*sorted({'torch', 'numpy', 'diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def many(text: str) -> list[str]:
    with pytest.raises(JobError) as caught:
        load_text(text, name="j", environ={})
    return str(caught.value).splitlines()


def test_of_many_problems_only_fifty_are_reported_and_worded(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Counter[str]()
    real = difflib.get_close_matches

    def count(word: str, *args: Any, **options: Any) -> list[str]:
        calls[word] += 1
        return real(word, *args, **options)

    monkeypatch.setattr(difflib, "get_close_matches", count)
    lines = many("prompt: a\n" + "".join(f"key_{number}: 1\n" for number in range(70)))
    assert lines[49] == "j:51:1: key_49: unknown key" and lines[50:] == ["and 20 more problems"]
    assert calls.total() == 50


def test_the_first_problems_of_the_text_are_reported_in_its_order() -> None:
    entries = "".join(f"  - {{chunk: {number}, text: '${{UNSET}}'}}\n" for number in range(60))
    lines = many(f"prompt: a\nfps: no\nchunk_specs:\n{entries}")
    assert lines[0].startswith("j:2:6: fps") and "chunk_specs[48].text: the environment variable UNSET" in lines[49]
    assert lines[50:] == ["and 11 more problems"]
