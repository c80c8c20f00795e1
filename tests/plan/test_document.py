from __future__ import annotations

import json
from fractions import Fraction

from scope_batch.plan import plan_to_dict
from tests.plan.helpers import plan, video_plan

KEYS = {
    "index", "first_frame", "frames", "keep", "latents", "start_latent", "mode", "cut", "cut_reason", "recache",
    "recache_reason", "prompts", "blend_method", "transition", "text_changed", "seed", "noise_seed",
    "denoising_steps", "noise_scale", "noise_controller", "vace", "lora_scales",
    "lora_changed", "kv_cache_attention_bias", "delivered",
}  # fmt: skip


def test_the_keys_that_scripts_rely_on() -> None:
    document = plan_to_dict(plan({"frame": 30, "seed": 3}))
    assert set(document) == {
        "pipeline_id", "num_frames", "fps", "fps_exact", "height", "width", "mode", "loras", "chunks", "placements",
        "landings", "forecast", "device_memory", "notes", "warnings", "pre_processors", "pre_processor_output",
        "post_processors", "delivered", "memory_bank", "sound",
    }  # fmt: skip
    assert all(set(chunk) == KEYS for chunk in document["chunks"])
    assert document["landings"] == [{"asked": "frame 30", "chunk": 2, "first_frame": 21, "fields": ["seed"]}]


def test_it_is_json_with_the_values_of_the_plan() -> None:
    planned = video_plan({"chunk": 1, "text": "B", "transition_num_steps": 3}, noise_scale=0.5)
    document = json.loads(json.dumps(plan_to_dict(planned)))
    assert document["mode"] == "video"
    assert sum(chunk["keep"] for chunk in document["chunks"]) == document["num_frames"] == 96
    assert document["chunks"][1]["noise_scale"] == 0.5


def test_a_transition_mixes_the_prompts_by_its_t() -> None:
    chunk = plan_to_dict(plan({"chunk": 1, "text": "B", "transition_num_steps": 5}))["chunks"][2]
    assert chunk["prompts"] == [{"text": "A", "weight": 0.75}, {"text": "B", "weight": 0.25}]
    assert chunk["transition"] == {
        "step": 1, "steps": 5, "t": 0.25, "method": "linear", "target": [{"text": "B", "weight": 1.0}],
    }  # fmt: skip


def test_an_interrupted_transition_mixes_all_three() -> None:
    entries = [{"chunk": c, "text": t, "transition_num_steps": 3} for c, t in ((1, "B"), (3, "C"))]
    chunk = plan_to_dict(plan(*entries))["chunks"][4]
    assert {p["text"]: p["weight"] for p in chunk["prompts"]} == {"A": 0.25, "B": 0.25, "C": 0.5}


def test_a_long_chain_of_interrupted_transitions_is_written_without_recursion() -> None:
    entries = [{"chunk": k, "text": f"t{k}", "transition_num_steps": 9} for k in range(1, 2000)]
    document = plan_to_dict(plan(*entries, num_frames=24_000))
    weights = [prompt["weight"] for prompt in document["chunks"][1990]["prompts"]]
    assert abs(sum(weights) - 1) < 1e-4


def test_a_fractional_rate_is_written_both_ways() -> None:
    document = plan_to_dict(plan(fps="30000/1001"))
    assert (document["fps_exact"], round(document["fps"], 2)) == ("30000/1001", 29.97)
    assert plan_to_dict(plan(fps=Fraction(25)))["fps"] == 25


def test_the_size_of_an_npy_is_exact() -> None:
    assert plan_to_dict(plan(num_frames=10))["forecast"]["npy_bytes"] == 128 + 10 * 320 * 576 * 3
