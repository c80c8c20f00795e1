"""The reference of fields is made from the JSON Schema, and says what the schema says."""

from __future__ import annotations

import pytest

from scope_batch.guide import all_fields, field_page, field_reference
from scope_batch.job import Job
from scope_batch.job.json_schema import job_file_schema


def test_every_field_of_every_map_is_there() -> None:
    schema = job_file_schema()
    models = [schema, *(model for name, model in schema["$defs"].items() if name != "Variable")]
    assert len(all_fields()) == sum(len(model["properties"]) for model in models)
    assert {field.name for field in all_fields() if field.place == "The job"} == {*Job.model_fields, "sweep"}


def test_every_field_has_values_and_a_meaning() -> None:
    assert [field.path for field in all_fields() if not field.values or not field.meaning] == []


@pytest.mark.parametrize(
    ("path", "values", "default"),
    [
        ("num_frames", "a whole number in 1..10000000 or `input`", "64"),
        ("height", "a whole number in 64..2048, a multiple of 16", ""),
        ("seed", "a whole number in 0..9007199254740992 or a list of these", "42"),
        ("fit", "`crop`, `pad` or `stretch`", "crop"),
        ("prompt", "a text or a list of: a map (a prompt of a blend, in `prompt`, `prompts` and "
                   "`transition_target_prompts`)", "required"),
        ("chunk_specs.noise_scale", "a number in 0..1", ""),
        ("output.path", "a text", "required"),
        ("sweep", "a map to: a list", ""),
    ],
)  # fmt: skip
def test_values_and_defaults_in_words(path: str, values: str, default: str) -> None:
    (field,) = [field for field in all_fields() if field.path == path]
    assert (field.values, field.default) == (values, default)


def test_a_schedule_has_its_default_and_its_four_forms() -> None:
    (field,) = [field for field in all_fields() if field.path == "vace_context_scale"]
    assert field.default == "1.0"
    assert (
        field.values
        == 'a number in 0..2, a list of these, keyframes {frame: value} or a formula "frame:(expression), ..."'
    )


def test_a_field_is_shown_wherever_it_occurs() -> None:
    text = field_page("seed")
    assert text is not None and "The job: a whole number" in text and "(`chunk_specs.seed`)" in text
    assert "The job:" not in (field_page("chunk_specs.seed") or "")
    assert field_page("seeds") is None


def test_the_reference_names_every_field() -> None:
    reference = field_reference()
    assert all(f"* `{field.name}`: " in reference for field in all_fields())
