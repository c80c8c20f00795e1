import json

from scope_batch.job.chunk_spec import ChunkSpec
from scope_batch.job.json_schema import job_json_schema
from scope_batch.job.schema import Job


def types(field: dict[str, object]) -> set[object]:
    choices = field["anyOf"]
    assert isinstance(choices, list)
    return {choice.get("type", choice.get("$ref")) for choice in choices}


def test_every_field_is_described() -> None:
    schema = job_json_schema()
    for model, properties in ((Job, schema["properties"]), (ChunkSpec, schema["$defs"]["ChunkSpec"]["properties"])):
        assert set(properties) == set(model.model_fields)
        assert all(field.get("description") for field in properties.values())


def test_it_allows_every_job_that_the_loader_accepts() -> None:
    properties = job_json_schema()["properties"]
    assert types(properties["height"]) == {"integer", "#/$defs/Variable", "null"}
    assert types(properties["noise_scale"]) == {"number", "array", "object", "string", "#/$defs/Variable", "null"}
    assert types(properties["output"]) == {"string", "#/$defs/Output", "array", "null"}
    assert types(properties["prompt"]) == {"string", "array"}


def test_it_is_plain_json_of_the_2020_12_draft_and_forbids_other_keys() -> None:
    schema = json.loads(json.dumps(job_json_schema(), allow_nan=False))
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["prompt"]
