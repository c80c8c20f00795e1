"""Tests that keys of other programs are refused with the field to use instead, or the reason why there is none."""

import re

import pytest

from scope_batch.errors import JobError
from scope_batch.job import load_text
from scope_batch.job.chunk_spec import ChunkSpec
from scope_batch.job.fields import Encoder, Output, ProcessorUse
from scope_batch.job.foreign_keys import BY_MODEL
from scope_batch.job.prompts import WeightedPrompt
from scope_batch.job.schema import Job

MODELS = {model.__name__: model for model in (Job, ChunkSpec, WeightedPrompt, Output, Encoder, ProcessorUse)}


def refusal(text: str, *overrides: str) -> str:
    with pytest.raises(JobError) as caught:
        load_text(text, name="j", overrides=overrides)
    (line,) = caught.value.problems
    return line


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("negative_prompt", "these models run without guidance; describe in the prompt what to show"),
        ("guidance_scale", "these models run without guidance; describe in the prompt what to show"),
        ("loras", "lora_scales: {file.safetensors: 0.8}"),
        ("size", "height and width, multiples of 16"),
        ("steps", "denoising_steps: a list of timesteps, such as [1000, 750, 500, 250]"),
        ("output_path", "output"),
        ("strength", "noise_scale: 0 keeps the input, 1 ignores it"),
        ("prompts", "prompt: a text, or a list of {text, weight}"),
        ("animation_prompts", "chunk_specs: [{time: 2.5, text: a dog}]"),
        ("device", "an option of the command line: --device"),
        ("numInferenceSteps", "denoising_steps: a list of timesteps, such as [1000, 750, 500, 250]"),
        ("Negative Prompt", "these models run without guidance; describe in the prompt what to show"),
    ],
)
def test_a_key_of_another_program(key: str, advice: str) -> None:
    assert refusal(f"prompt: a\n{key}: 1") == f"j:2:1: {key}: unknown key; here: {advice}"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("chunk_specs: [{time: 1.0, prompt: a dog}]",
         "2:27: chunk_specs[0].prompt: unknown key; here: text; several that blend: prompts"),
        ("chunk_specs: [{start: 1.0, text: a dog}]", "2:16: chunk_specs[0].start: unknown key; here: time: "),
        ("chunk_specs: [{chunk: 1, transition: 4}]",
         "2:26: chunk_specs[0].transition: unknown key; here: transition_num_steps: a number of chunks"),
        ("output: {path: a.mp4, file: b.mp4}", "2:23: output.file: unknown key; here: path"),
        ("pre_processor_id: {id: gray, args: {}}", "2:30: pre_processor_id.args: unknown key; here: params"),
    ],
)  # fmt: skip
def test_a_key_of_another_program_inside(text: str, advice: str) -> None:
    lines = refusal_lines(f"prompt: a\n{text}")
    assert any(line.startswith(f"j:{advice}") for line in lines)


def refusal_lines(text: str) -> tuple[str, ...]:
    with pytest.raises(JobError) as caught:
        load_text(text, name="j")
    return caught.value.problems


def test_an_override_gets_the_same_advice() -> None:
    assert refusal("prompt: a", "steps=4").startswith("--set steps: steps: unknown key; here: denoising_steps: ")


@pytest.mark.parametrize("model", BY_MODEL)
def test_no_key_of_ours_is_foreign(model: str) -> None:
    assert not BY_MODEL[model].keys() & MODELS[model].model_fields.keys()


@pytest.mark.parametrize(
    ("model", "advice"), sorted({(model, advice) for model, table in BY_MODEL.items() for advice in table.values()})
)
def test_the_advice_for_a_key_begins_with_a_field(model: str, advice: str) -> None:
    field = re.match(r"[a-z_]+(?=$|:|;)", advice)
    assert field is None or field[0] in MODELS[model].model_fields or field[0] in Job.model_fields
