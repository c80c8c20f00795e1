"""Values that each field of a job allows at first sight, so that mutated jobs get past the reader to the planner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scope_batch.job.chunk_spec import ChunkSpec
from scope_batch.job.schema import Job

_NUMBERS = (0, 1, 2, 0.5, 0.999, 1e-9)
_SCHEDULES = (
    *_NUMBERS,
    [0.1, 0.9],
    [1] * 30,
    {"0": 0.2, "20": 0.9},
    {"12": 1},
    "0:(0), max_f:(1)",
    "0:(abs(sin(t/9)))",
)
_METHODS = ("linear", "slerp")
_PROMPTS = (
    "a",
    "a dog " * 90,
    [{"text": "a", "weight": 0.2}, {"text": "b"}],
    [{"text": "a", "weight": 0}, {"text": "b"}],
)
_STEPS = ([1000], [1000, 750], [1000, 500, 250], [750, 1000], [1] * 20, [])
_PROCESSORS = (
    "gray",
    ["gray", "edges"],
    {"id": "edges", "params": {"strength": 0.1}},
    {"id": "edges", "params": {"x": 1}},
)
_SHAPES = ([13, 64, 64, 3], [1, 3, 12, 64, 64], [1, 1, 12, 64, 64], [0, 0, 0, 0], [2**40, 64, 64, 3])


def plausible(assets: Path) -> dict[str, tuple[Any, ...]]:
    """Field -> values. `assets` holds the files that paths name."""
    clips = tuple(
        str(assets / name) for name in ("clip.mp4", "clip.npy", "clip.webm", "image.png", "moving.webp", "no.mp4")
    )
    controls = (*clips, str(assets / "control.safetensors"), str(assets / "planes.npy"), str(assets))
    images = tuple(str(assets / name) for name in ("image.png", "image.jpg", "deep.png", "no.png"))
    lora = str(assets / "lora.safetensors")
    paths = dict.fromkeys(("input_path", "input_video"), clips) | dict.fromkeys(("vace_frames", "vace_masks"), controls)
    stills = dict.fromkeys(("first_frame_image", "last_frame_image"), images)
    lists = {
        "vace_ref_images": tuple([image] for image in images),
        "first_frames": ([{"chunk": 1, "image": images[0]}],),
    }
    return {
        **paths,
        **stills,
        **lists,
        **dict.fromkeys(("noise_scale", "vace_context_scale", "kv_cache_attention_bias"), _SCHEDULES),
        **dict.fromkeys(("seed",), (0, 42, -1, 2**63 - 1, [1, 1001], {"0": 1, "12": 2}, "0:(t*1000)")),
        **dict.fromkeys(("num_frames",), (1, 8, 9, 10, 13, 33, 100, 997, 10_000, "input")),
        **dict.fromkeys(("height", "width"), (64, 80, 480, 832, 8192, 100)),
        **dict.fromkeys(
            ("fps", "input_fps", "vace_fps"), (1, 8, 12, 16, 24, 30, "30000/1001", 1000, 0.01, "native", "input")
        ),
        **dict.fromkeys(
            ("input_start", "input_end", "vace_start", "vace_end"), (0, 0.1, 0.5, 1.24, 1.25, 99, "0:01", "00:00.5")
        ),
        **dict.fromkeys(("denoising_steps",), _STEPS),
        **dict.fromkeys(("prompt", "prompts", "transition_target_prompts"), _PROMPTS),
        **dict.fromkeys(("text",), ("a", "b " * 300, "", "\U0001f600")),
        **dict.fromkeys(("transition_num_steps",), (0, 1, 2, 5, 1000, 10**6)),
        **dict.fromkeys(("prompt_interpolation_method", "transition_method"), _METHODS),
        **dict.fromkeys(("pre_processor_id", "post_processor_id"), _PROCESSORS),
        **dict.fromkeys(("vace_frames_shape", "vace_masks_shape", "input_video_shape"), _SHAPES),
        **dict.fromkeys(("vace_frames_offset", "vace_masks_offset", "input_video_offset"), (0, 20, 2**40)),
        "data_blob_path": (str(assets / "clip.bin"),),
        "lora_scales": (
            {lora: 1},
            {lora: {"0": 0, "20": 1}},
            {lora: [0.1, 0.2]},
            {lora: 99},
            {str(assets / "no.safetensors"): 1},
        ),
        "audio": ("none", "input", str(assets / "sound.wav"), str(assets / "clip.mp4"), str(assets / "clip.webm")),
        "output": ("a.mp4", "a.npy", "f/%05d.png", "a.webm", ["a.mkv", "b.mov"], {"path": "a.mp4", "crf": 0}, "-"),
        "video": ({"crf": 30}, {"codec": "ffv1"}, {"codec": "libx265", "pix_fmt": "yuv420p"}, {"preset": "slow"}),
        "pipeline_id": ("slate", "longlive", "streamdiffusionv2", "memflow", "reward-forcing", "krea-realtime-video"),
        "models": ("tiny", str(assets)),
        "chunk_grid": ("engine", 12),
        **dict.fromkeys(("chunk",), (0, 1, 2, 3, 99)),
        **dict.fromkeys(("frame",), (0, 1, 9, 12, 20, 32, 999)),
        **dict.fromkeys(("time",), (0, 0.5, 1.5, 2, "0:01", 999)),
        **_words(),
    }


def _words() -> dict[str, tuple[Any, ...]]:
    """What the schema itself lists: words of a choice, and both values of a switch."""
    found: dict[str, tuple[Any, ...]] = {}
    for model in (Job, ChunkSpec):
        for name, field in model.model_json_schema()["properties"].items():
            kinds = [field, *field.get("anyOf", ())]
            words = [word for kind in kinds for word in kind.get("enum", ())]
            if any(kind.get("type") == "boolean" for kind in kinds):
                words += [True, False]
            if words and name not in ("pipeline_id", "models", "audio", "num_frames"):
                found[name] = tuple(words)
    return found
