"""Makes the cases of test_silent_fields: jobs of every mode, and for every field a value other than its default."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scope_batch.job.json_schema import job_json_schema
from scope_batch.pipelines import PIPELINES

ASSETS = Path(__file__).parents[2] / "examples" / "assets"
IMAGE, OTHER_IMAGE, LORA = str(ASSETS / "first.png"), str(ASSETS / "last.png"), str(ASSETS / "outline.safetensors")
FRAMES = 33
"""Three chunks in text mode: 9, 12, 12."""
BASE: dict[str, Any] = {
    "pipeline_id": "longlive", "prompt": "a cat", "num_frames": FRAMES, "height": 64, "width": 64, "models": "tiny",
    "output": "out.mp4",
}  # fmt: skip
BLOB_SHAPES = {"vace_frames": [1, 3, 12, 64, 64], "vace_masks": [1, 1, 12, 64, 64], "input_video": [12, 64, 64, 3]}


def make_files(folder: Path) -> None:
    """Write the small files that the jobs name to the working directory."""
    np.save(folder / "clip.npy", np.zeros((40, 64, 64, 3), np.uint8))
    np.save(folder / "short.npy", np.zeros((12, 64, 64, 3), np.uint8))
    np.save(folder / "wide.npy", np.zeros((40, 48, 96, 3), np.uint8))
    for frames in (12, FRAMES, 40):
        np.save(folder / f"depth{frames}.npy", np.zeros((1, 3, frames, 64, 64), np.float32))
        np.save(folder / f"mask{frames}.npy", np.ones((1, 1, frames, 64, 64), np.float32))
    for seconds in (1, 2.0625, 3):  # the picture's 33 frames at 16 fps are 2.0625 s
        with wave.open(str(folder / f"song{seconds}.wav"), "wb") as song:
            song.setparams((1, 2, 8000, 0, "NONE", ""))
            song.writeframes(bytes(round(2 * 8000 * seconds)))
    (folder / "blob.bin").write_bytes(bytes(4 * 3 * 12 * 64 * 64))


TEXT_AT_1 = [{"chunk": 1, "text": "a dog"}]
MOVING_LORA = {"lora_scales": {LORA: [0.0, 1.0]}}
MODES: dict[str, dict[str, Any]] = {
    **{name: {"pipeline_id": name} for name in PIPELINES},
    **{f"{name}, video": {"pipeline_id": name, "input_path": "clip.npy"} for name in PIPELINES},
    "one chunk": {"num_frames": 9},
    "one chunk that sets all": {
        "num_frames": 13,
        "input_path": "clip.npy",
        "chunk_specs": [
            {"chunk": 0, "text": "a dog", "seed": 1, "noise_scale": 0.5, "denoising_steps": [900, 500],
             "manage_cache": True, "noise_controller": False, "prompt_interpolation_method": "linear"}
        ],
    },
    "two prompts": {"prompt": [{"text": "a cat"}, {"text": "a dog", "weight": 3.0}]},
    "no weight": {"prompt": [{"text": "a cat"}]},
    "a new prompt": {"chunk_specs": TEXT_AT_1},
    "a new prompt, no cache management": {"chunk_specs": TEXT_AT_1, "manage_cache": False},
    "a new prompt in video mode": {"input_path": "clip.npy", "chunk_specs": TEXT_AT_1},
    "a transition": {"chunk_specs": [{"chunk": 1, "text": "a dog", "transition_num_steps": 2}]},
    "slots": {"chunk_grid": 12, "chunk_specs": TEXT_AT_1},
    "a cut": {"chunk_specs": [{"chunk": 1, "reset_cache": True}]},
    "a list of seeds": {"seed": [1, 2000, 4000]},
    "noise fixed": {"input_path": "clip.npy", "noise_scale": 0.5},
    "noise controlled": {"input_path": "clip.npy", "noise_scale": 0.5, "noise_controller": True},
    "short input": {"input_path": "short.npy"},
    "input of another shape": {"input_path": "wide.npy"},
    "input resampled": {"input_path": "clip.npy", "input_fps": 8},
    "input steers": {"input_path": "clip.npy", "vace_use_input_video": True},
    "processed": {"input_path": "clip.npy", "pre_processor_id": "edges"},
    "processed input steers": {
        "input_path": "clip.npy", "pre_processor_id": "edges", "pre_processor_output": "vace_frames",
    },
    "processed behind": {"post_processor_id": "gray"},
    "video in one chunk": {"chunk_specs": [{"chunk": 1, "input_video": "short.npy"}]},
    "control": {"vace_frames": f"depth{FRAMES}.npy"},
    "long control": {"vace_frames": "depth40.npy"},
    "short control": {"vace_frames": "depth12.npy", "vace_length": "hold"},
    "control of no strength": {"vace_frames": f"depth{FRAMES}.npy", "vace_context_scale": 0},
    "masks": {"vace_masks": f"mask{FRAMES}.npy"},
    "control and masks": {"vace_frames": f"depth{FRAMES}.npy", "vace_masks": f"mask{FRAMES}.npy"},
    "control in one chunk": {"chunk_specs": [{"chunk": 1, "vace_frames": "depth12.npy"}]},
    "control beside input": {"input_path": "clip.npy", "vace_frames": f"depth{FRAMES}.npy"},
    "a song": {"audio": "song2.0625.wav"},
    "a short song": {"audio": "song1.wav"},
    "a long song": {"audio": "song3.wav"},
    "first image": {"first_frame_image": IMAGE},
    "last image": {"last_frame_image": IMAGE},
    "reference image": {"vace_ref_images": [IMAGE]},
    "image in one chunk": {"chunk_specs": [{"chunk": 1, "first_frame_image": IMAGE}]},
    "lora": {"lora_scales": {LORA: 1.0}},
    "moving lora": MOVING_LORA,
    "moving lora, krea": {**MOVING_LORA, "pipeline_id": "krea-realtime-video"},
    "moving lora, no cache management": {**MOVING_LORA, "manage_cache": False},
    "moving lora, recache": {**MOVING_LORA, "on_lora_change": "recache"},
    "lora, fp8": {"lora_scales": {LORA: 1.0}, "quantization": "fp8_e4m3fn"},
    "lora in one chunk": {"chunk_specs": [{"chunk": 1, "lora_scales": {LORA: 1.0}}]},
    "data blob": {
        "data_blob_path": "blob.bin",
        "chunk_specs": [{"chunk": 1, "vace_frames_offset": 0, "vace_frames_shape": BLOB_SHAPES["vace_frames"]}],
    },
    "no file is encoded": {"output": "out.npy"},
    "pictures": {"output": "out/%05d.png"},
    "raw video": {"output": "out.nut"},
    "lossless": {"output": {"path": "out.mkv", "codec": "ffv1"}},
    "two outputs": {"output": ["out.mp4", "out.npy"]},
    "an output with settings of its own": {
        "output": {"path": "out.mp4", "codec": "libx264", "crf": 20, "preset": "slow", "pix_fmt": "yuv420p"}
    },
}  # fmt: skip

OPENINGS = frozenset(
    ("longlive", "longlive, video", "one chunk", "one chunk that sets all", "slots", "control", "moving lora",
     "video in one chunk")
)  # fmt: skip
"""Modes in which an entry of chunk 0 is tried, too, not only one of chunk 1."""

VALUES: dict[str, tuple[Any, ...]] = {
    "pipeline_id": ("memflow", "slate"),
    "prompt": ("a bird", [{"text": "a cat"}, {"text": "a bird"}], [{"text": "a cat", "weight": 0.5}]),
    "num_frames": (21,),
    "height": (80,),
    "width": (80,),
    "seed": (7, [7, 3000], [42, 42, 42, 9]),
    "noise_scale": (0.3, [0.3, 0.4], {"0": 0.3, "20": 0.9}),
    "kv_cache_attention_bias": (0.5,),
    "denoising_steps": ([999, 400],),
    "chunk_specs": ([{"chunk": 0, "seed": 5000}],),
    "chunk_prompts": ([{"chunk": 0, "text": "a bird"}],),
    "input_path": ("clip.npy",),
    "input_fps": (8, 12),
    "input_start": (0.25,),
    "input_end": (1.5, 2.5),
    "audio": ("song1.wav", "song3.wav"),
    "vace_frames": ("depth33.npy", "depth40.npy"),
    "vace_fps": (8, "input"),
    "vace_start": (0.25,),
    "vace_end": (1.5,),
    "vace_masks": ("mask33.npy",),
    "vace_ref_images": ([IMAGE], [OTHER_IMAGE]),
    "vace_context_scale": (0.5, [0.5, 1.0], [1.0, 1.0, 1.0, 0.5]),
    "first_frame_image": (IMAGE, OTHER_IMAGE),
    "last_frame_image": (IMAGE, OTHER_IMAGE),
    "first_frames": ([{"chunk": 0, "image": OTHER_IMAGE}],),
    "last_frames": ([{"chunk": 0, "image": OTHER_IMAGE}],),
    "data_blob_path": ("blob.bin",),
    "lora_scales": ({LORA: 0.5}, {LORA: [0.5, 0.6]}),
    "pre_processor_id": ("gray", {"id": "edges", "params": {"strength": 3}}),
    "post_processor_id": ("edges", "passthrough"),
    "models": ("folder",),
    "keep_state": ([1],),
    "stop_if": ("sharpness < 0.6 * first",),
    "fps": (12,),
    "output": ("other.mp4",),
    "codec": ("libx265",),
    "crf": (30,),
    "preset": ("fast",),
    "path": ("other.mp4",),
    "id": ("gray",),
    "params": ({"strength": 3},),
    "weight": (0.5, 0),
    "pix_fmt": ("yuv444p",),
    "text": ("a bird",),
    "prompts": ([{"text": "a bird"}, {"text": "a dog"}], [{"text": "a bird", "weight": 0.5}]),
    "transition_target_prompts": ([{"text": "a bird"}],),
    "transition_num_steps": (3, 9),
    "chunk": (),
    "frame": (),
    "time": (),
    **{f"{field}_shape": (shape,) for field, shape in BLOB_SHAPES.items()},
    **{f"{field}_offset": (0,) for field in BLOB_SHAPES},
    "input_video": ("short.npy",),
}
"""Values other than the default; those of booleans and lists of words are read from the schema."""

GUARDS = {("input_length", "error"), ("cuts", "forbid"), ("lora_merge", "always")}
"""Values that ask for an error; they have had their effect if there is nothing to refuse."""

FOLDED = {"chunk_prompts": "text", "first_frames": "first_frame_image", "last_frames": "last_frame_image"}
"""Lists of the protocol's first revision, and the field of an entry that they become."""

SCHEMA = job_json_schema()


def fields_of(model: str = "") -> dict[str, Any]:
    """The fields of the job, or of one of the models inside it, with their schemas."""
    properties: dict[str, Any] = (SCHEMA["$defs"][model] if model else SCHEMA)["properties"]
    return properties


def values_of(field: str, schema: dict[str, Any]) -> list[Any]:
    """Values other than the default. KeyError for a field that this table does not know."""
    choices = schema.get("anyOf", [schema])
    words = [word for choice in choices for word in choice.get("enum", [])]
    words += [choice["const"] for choice in choices if "const" in choice and field != "version"]
    if any(choice.get("type") == "boolean" for choice in choices):
        words += [True, False]
    if field == "version":
        return []
    values = [*words, *VALUES[field]] if not words or field in VALUES else words
    return [value for value in values if value != schema.get("default")]


JOB_FIELDS, ENTRY_FIELDS = fields_of(), fields_of("ChunkSpec")
VALUES["video"] = tuple({field: VALUES[field][0]} for field in fields_of("Encoder"))
INSIDE = {
    "Output": ("output", {"path": "out.mp4"}),
    "ProcessorUse": ("pre_processor_id", {"id": "edges"}),
    "WeightedPrompt": ("prompt", {"text": "a cat"}),
}
"""Maps inside fields of the job: the field that holds a list of them, and the least of such a map."""
ELSEWHERE = {"ChunkSpec", "Encoder", "ChunkPrompt", "ChunkImage", "ChunkReferences", "Variable"}
"""Parts of the schema whose fields are tried in other ways."""
DEFAULTS = {name: schema["default"] for name, schema in JOB_FIELDS.items() if "default" in schema}
DEFAULTS["transition_method"] = "linear"


@dataclass(frozen=True, slots=True)
class Case:
    """A job of some mode with and without one field. `chunk`: of an entry; `inside`: the field that holds its map."""

    mode: str
    field: str
    value: Any
    without: dict[str, Any]
    with_field: dict[str, Any]
    chunk: int | None = None
    inside: str = ""

    def __str__(self) -> str:
        place = "" if self.chunk is None else f"chunk {self.chunk}: "
        return f"{self.mode}: {place}{self.field}={str(self.value)[:60]}"


def cases(mode: str) -> Iterator[Case]:
    job = BASE | MODES[mode]
    for field, schema in JOB_FIELDS.items():
        for value in values_of(field, schema):
            if (field, value) not in [*GUARDS] and job.get(field) != value:
                yield Case(mode, field, value, job, {**job, field: value})
    yield from _inside(mode, job)
    for chunk in (0, 1) if mode in OPENINGS else (1,):
        for field, schema in ENTRY_FIELDS.items():
            for value in values_of(field, schema):
                entry = next((entry for entry in job.get("chunk_specs", ()) if entry["chunk"] == chunk), {})
                in_force = entry.get(field, job.get(field, DEFAULTS.get(field)))
                if in_force != value:
                    yield Case(mode, field, value, job, _with_entry(job, chunk, {field: value}), chunk)


def _inside(mode: str, job: dict[str, Any]) -> Iterator[Case]:
    """Fields of maps that are values of the job's fields."""
    for model, (holder, least) in INSIDE.items():
        if holder not in job:
            continue
        first = job[holder][0] if isinstance(job[holder], list) else job[holder]
        own = first if isinstance(first, dict) else {next(iter(least)): first}
        rest = job[holder][1:] if isinstance(job[holder], list) else []
        without = {**job, holder: [own, *rest]}
        for field in fields_of(model):
            for value in VALUES[field]:
                if own.get(field) != value:
                    yield Case(
                        mode, field, value, without, {**job, holder: [{**own, field: value}, *rest]}, inside=holder
                    )


def _with_entry(job: dict[str, Any], chunk: int, fields: dict[str, Any]) -> dict[str, Any]:
    entries = deepcopy(job.get("chunk_specs", []))
    for entry in entries:
        if entry["chunk"] == chunk:
            entry.update(fields)
            return {**job, "chunk_specs": entries}
    return {**job, "chunk_specs": [*entries, {"chunk": chunk, **fields}]}
