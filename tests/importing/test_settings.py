from __future__ import annotations

from typing import Any

import pytest

from scope_batch.pipelines import PIPELINES
from tests.importing.helpers import block, imported, job_of, notes_of, plan_of, timeline

ONE = block(0, 4)


def test_settings_are_converted() -> None:
    settings = {"denoisingSteps": [1000, 750], "manageCache": False, "kvCacheAttentionBias": 1.0, "inputMode": "text"}
    job, plan = job_of(timeline(ONE, **settings)), plan_of(timeline(ONE, **settings))
    assert (job.height, job.width, job.seed.written(), job.manage_cache) == (320, 576, 7, False)
    assert job.denoising_steps == (1000, 750) and plan.warnings == ()
    assert [note.split(": ")[1] for note in plan.notes] == ["manage_cache has no effect"]
    assert notes_of(timeline(ONE, **settings)) == ()


def test_overrides_of_the_schema_are_settings() -> None:
    job = job_of(timeline(ONE, seed=None, schemaFieldOverrides={"base_seed": 9, "manage_cache": False}))
    assert (job.seed.written(), job.manage_cache) == (9, False)


def test_absent_settings_are_assumed_and_noted() -> None:
    export = {"prompts": [ONE], "version": "2.0"}
    assert notes_of(export) == (
        "assumed: pipelineId (absent): longlive",
        "assumed: resolution (absent): 576x320, the pipeline's own",
        "assumed: seed (absent): 42",
    )
    assert job_of(export).seed.written() == 42


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"seed": -1}, "settings.seed (-1)"),
        ({"seed": 1.5}, "settings.seed (1.5)"),
        ({"denoisingSteps": [1000, 0]}, "settings.denoisingSteps ([1000, 0])"),
        ({"denoisingSteps": []}, "settings.denoisingSteps ([])"),
        ({"manageCache": "yes"}, 'settings.manageCache ("yes")'),
        ({"kvCacheAttentionBias": 0.3}, "settings.kvCacheAttentionBias (0.3)"),
        ({"quantization": "int4"}, 'settings.quantization ("int4")'),
        ({"resolution": [320, 576]}, "settings.resolution ([320, 576])"),
        ({"resolution": {"height": "320", "width": 576}}, 'resolution (["320", 576])'),
    ],
)
def test_a_value_that_a_job_cannot_have_is_noted(settings: dict[str, Any], place: str) -> None:
    export = timeline(ONE, **settings)
    assert any(line.startswith(f"not carried over: {place}: ") for line in notes_of(export))
    plan_of(export)


def test_unknown_keys_are_noted_also_when_they_are_null() -> None:
    export = timeline({**ONE, "hue": None}, glow=None, resolution={"height": 320, "width": 576, "depth": None})
    assert notes_of({**export, "theme": None}) == (
        "not carried over: export.theme (null): unknown key",
        "not carried over: prompts[].hue (null): unknown key",
        "not carried over: settings.glow (null): unknown setting",
        "not carried over: settings.resolution.depth (null): unknown setting",
    )


def test_a_null_override_replaces_nothing() -> None:
    assert job_of(timeline(ONE, seed=7, schemaFieldOverrides={"base_seed": None, "seed": None})).seed.written() == 7


def test_a_size_is_fitted() -> None:
    export = timeline(ONE, resolution={"height": 330, "width": 570})
    assert (job_of(export).height, job_of(export).width) == (336, 576)
    assert notes_of(export) == ("assumed: resolution: 576x336 for 570x330, sides are multiples of 16 in 64..2048",)


def test_another_pipeline_is_noted_and_its_steps_are_left_out() -> None:
    export = timeline(ONE, pipelineId="no-such-pipeline", denoisingSteps=[750, 250])
    job = job_of(export)
    assert (job.pipeline_id, job.denoising_steps, job.width) == ("longlive", None, 576)
    first, second = notes_of(export)
    assert f"no such pipeline (known: {', '.join(PIPELINES)}); longlive is used instead" in first
    assert "settings.denoisingSteps ([750, 250])" in second


def test_an_input_video_is_a_commented_line() -> None:
    export = timeline(ONE, inputMode="video", noiseScale=0.6, noiseController=False)
    (line,) = notes_of(export)
    assert line.startswith('not carried over: settings.inputMode ("video")')
    text = imported(export).text.replace("# input_path", "input_path").replace("# noise", "noise")
    assert '\ninput_path: "clip.mp4"' in text and "\nnoise_scale: 0.6 " in text and "\nnoise_controller: false " in text


def test_noise_of_a_text_mode_export_is_left_out() -> None:
    export = timeline(ONE, noiseScale=0.6, noiseController=True)
    assert notes_of(export) == () and job_of(export).noise_scale is None


def test_the_noise_device_of_scope_is_a_commented_line() -> None:
    assert "\n# noise_device: cuda " in imported(timeline(ONE)).text
    assert "noise_device" not in imported(timeline(ONE, seed=None)).text


def test_an_attention_bias_of_one_is_written_for_a_pipeline_with_another() -> None:
    job = job_of(timeline(ONE, pipelineId="krea-realtime-video", kvCacheAttentionBias=1.0))
    assert job.kv_cache_attention_bias is not None and job.kv_cache_attention_bias.constant == 1.0
    assert "kv_cache_attention_bias" not in job_of(timeline(ONE, kvCacheAttentionBias=1.0)).model_fields_set
