"""Wrong control, masks, images, LoRAs and schedules: one clear line before anything loads, nothing written."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from tests.render.helpers import Refused, ffmpeg

SIZE, FRAMES = 64, 33
BASE = f"pipeline_id: slate\nprompt: a\nnum_frames: {FRAMES}\nheight: {SIZE}\nwidth: {SIZE}\n"
DEEP = "(" * 5000 + "t" + ")" * 5000


def control(frames: int = FRAMES, channels: int = 3, size: int = SIZE) -> NDArray[np.float32]:
    return np.zeros((1, channels, frames, size, size), np.float32)


def with_one(value: float, frame: int, channels: int = 3) -> NDArray[np.float32]:
    array = control(channels=channels)
    array[0, 0, frame, 5, 7] = value
    return array


def lora(module: str, width: int = 256) -> dict[str, torch.Tensor]:
    return {f"{module}.lora_A.weight": torch.ones(4, width), f"{module}.lora_B.weight": torch.ones(width, 4)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steering")
    arrays = {
        "good": control(),
        "mask": control(channels=1),
        "short": control(20),
        "mask20": control(20, channels=1),
        "mask3": control(channels=3),
        "small": control(size=32),
        "four": control(channels=4),
        "nan": with_one(np.nan, 30),
        "loud": with_one(255, 0),
        "maskover": with_one(1.5, 12, channels=1),
        "flat": np.zeros((3, FRAMES, SIZE, SIZE), np.float32),
        "double": control(9).astype(np.float64),
        "objects": np.array([Path("x")], object),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=name == "objects")
    torch.save({"frames": torch.zeros(1)}, folder / "frames.pt")
    save_file({"pictures": torch.zeros(1, 3, 9, SIZE, SIZE)}, folder / "unnamed.safetensors")
    (folder / "cut.npy").write_bytes((folder / "good.npy").read_bytes()[:-5])
    (folder / "blob").write_bytes(np.zeros(12 * SIZE * SIZE, np.float32).tobytes())
    (folder / "text.png").write_text("no picture")
    Image.new("RGB", (40, 30)).save(folder / "still.png")
    (folder / "wan.safetensors").write_bytes(b"no tensors at all")
    save_file(lora("diffusion_model.blocks.0.self_attn.q"), folder / "good.safetensors")
    save_file(lora("diffusion_model.blocks.0.self_attn.q", 5120), folder / "wide.safetensors")
    save_file(lora("lora_unet_down_blocks_0_attentions_0_proj_in", 320), folder / "sdxl.safetensors")
    header = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 10**12]}}).encode()
    (folder / "beyond.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:r=16:d=0.5", "-pix_fmt", "yuv420p", folder / "short.mp4")
    return folder


@pytest.fixture(autouse=True)
def _files_here(files: Path, tmp_path: Path) -> None:
    (tmp_path / "files").symlink_to(files)


def entry(text: str) -> str:
    return f"chunk_specs:\n  - {{chunk: 1, {text}}}\n"


def blob(offset: int, shape: str, kind: str = "frames") -> str:
    return "data_blob_path: files/blob\n" + entry(f"vace_{kind}_offset: {offset}, vace_{kind}_shape: {shape}")


CASES: list[tuple[str, str, str]] = [
    ("control shorter than the job", "vace_frames: files/short.npy", r"job\.yaml:6:1: vace_frames: .*20.*33"),
    ("control clip shorter than the job", "vace_frames: files/short.mp4", r"vace_frames: .*8 frames.*33"),
    ("mask of other length", "vace_frames: files/good.npy\nvace_masks: files/mask20.npy", r"vace_masks: .*20.*33"),
    ("mask of other length in a chunk", entry("vace_frames: files/good.npy, vace_masks: files/mask20.npy"), "20.*33"),
    ("three-channel mask", "vace_masks: files/mask3.npy", r"mask3\.npy.*1 channel"),
    ("four-channel control", "vace_frames: files/four.npy", r"four\.npy.*4"),
    ("frames of other size", "vace_frames: files/small.npy", "32x32.*64x64"),
    ("no batch axis", "vace_frames: files/flat.npy", r"\[1, 3, T, H, W\]"),
    ("double numbers", "vace_frames: files/double.npy", "float64"),
    ("objects", "vace_frames: files/objects.npy", "objects"),
    ("NaN", "vace_frames: files/nan.npy", r"frame 30 \(.*chunk 2\).*NaN"),
    ("0..255 control", "vace_frames: files/loud.npy", r"chunk 0.*255.*-1\.\.1"),
    ("mask above 1", "vace_masks: files/maskover.npy", r"chunk 1.*1\.5.*0\.\.1"),
    ("truncated array", "vace_frames: files/cut.npy", r"cut\.npy.*cut short"),
    ("pickle", "vace_frames: files/frames.pt", r"frames\.pt.*safetensors"),
    ("safetensors without frames", "vace_frames: files/unnamed.safetensors", "frames"),
    ("offset beyond the blob", blob(10**6, "[1, 1, 12, 64, 64]"), r"job\.yaml:8:\d+: .*196608 bytes"),
    ("shape beyond the blob", blob(0, "[1, 3, 12, 64, 64]"), r"job\.yaml:8:\d+: .*196608 bytes"),
    ("overflowing shape", blob(0, "[1, 3, 9223372036854775807, 64, 64]"), r"job\.yaml:8:\d+: "),
    ("negative shape", blob(0, "[1, 3, -12, 64, 64]"), r"job\.yaml:8:\d+: .*vace_frames_shape"),
    ("negative offset", blob(-4, "[1, 3, 12, 64, 64]"), r"job\.yaml:8:\d+: .*vace_frames_offset"),
    ("shape of four axes", blob(0, "[3, 12, 64, 64]"), r"\[1, 3, T, H, W\]"),
    ("blob of other size", blob(0, "[1, 1, 48, 32, 32]"), "32x32.*64x64"),
    ("three-channel mask in a blob", blob(0, "[1, 3, 4, 64, 64]", "masks"), r"\[1, 1, T, H, W\]|1 channel"),
    ("offset without shape", "data_blob_path: files/blob\n" + entry("vace_frames_offset: 0"), "vace_frames_shape"),
    ("offset without blob", entry("vace_frames_offset: 0, vace_frames_shape: [1, 1, 12, 64, 64]"), "data_blob_path"),
    ("blob without offset", "data_blob_path: files/blob", r"job\.yaml:6:1: data_blob_path"),
    (
        "path and offset",
        "data_blob_path: files/blob\n"
        + entry("vace_frames: files/good.npy, vace_frames_offset: 0, vace_frames_shape: [1, 1, 12, 64, 64]"),
        r"job\.yaml:8:\d+: .*vace_frames",
    ),
    ("longer than its chunk", entry("vace_frames: files/good.npy, vace_temporally_locked: false"), "33.*12"),
    ("two references", entry("vace_ref_images: [files/still.png, files/still.png]"), "one reference"),
    ("no picture", "first_frame_image: files/text.png", r"text\.png: is not a readable"),
    ("context scale", "vace_frames: files/good.npy\nvace_context_scale: 2.5", r"0\.\.2, not 2\.5"),
    ("scale without VACE", "vace_context_scale: 0.5", r"job\.yaml:6:1: vace_context_scale"),
    ("input through VACE without input", "vace_use_input_video: true", "input_path"),
    ("LoRA of noise", "lora_scales: {files/wan.safetensors: 1}", r"wan\.safetensors"),
    ("LoRA of another model", "lora_scales: {files/sdxl.safetensors: 1}", r"sdxl\.safetensors.*down_blocks"),
    ("LoRA beyond its end", "lora_scales: {files/beyond.safetensors: 1}", r"beyond\.safetensors"),
    ("LoRA as a pickle", "lora_scales: {files/frames.pt: 1}", r"\.safetensors"),
    ("LoRA scale", "lora_scales: {files/good.safetensors: 11}", r"-10\.\.10, not 11"),
    ("merge of a ramp", "lora_scales: {files/good.safetensors: [0, 1]}\nlora_merge: always", "lora_merge"),
    ("keyframe beyond the end", "lora_scales: {files/good.safetensors: {0: 0, 34: 1}}", "34.*0 to 32"),
    ("keyframe out of range", "lora_scales: {files/good.safetensors: {0: 0, 12: 11}}", r"-10\.\.10"),
    (
        "unknown name in an expression",
        'lora_scales: {files/good.safetensors: "0:(speed)"}',
        r"job\.yaml:6:\d+: .*speed",
    ),
    ("attribute in an expression", 'lora_scales: {files/good.safetensors: "0:(t.real)"}', r"job\.yaml:6:\d+: "),
    ("a tower of powers", 'lora_scales: {files/good.safetensors: "0:(9**9**9**9)"}', r"job\.yaml:6:\d+: "),
    ("recursion in an expression", f'lora_scales: {{files/good.safetensors: "0:({DEEP})"}}', r"job\.yaml:6:\d+: "),
    ("division by zero", 'lora_scales: {files/good.safetensors: "0:(1/t)"}', "chunk 0"),
    ("expression out of range", 'lora_scales: {files/good.safetensors: "0:(t)"}', r"chunk 2.*-10\.\.10"),
    ("cuts forbidden", "lora_scales: {files/good.safetensors: [0, 1]}\non_lora_change: cut\ncuts: forbid", "hard cut"),
    ("slot beyond the end", "chunk_grid: 12\nchunk_specs:\n  - {chunk: 3, text: b}", r"job\.yaml:8:\d+: "),
]


@pytest.mark.parametrize(("text", "pattern"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_job(refused: Refused, text: str, pattern: str) -> None:
    Path("job.yaml").write_text(BASE + text)
    refused(["job.yaml"], 65, pattern)


MISSING = {
    "vace_frames": "vace_frames: no.mp4",
    "a chunk's mask": entry("vace_masks: no.npy"),
    "reference": "vace_ref_images: [no.png]",
    "LoRA": "lora_scales: {no.safetensors: 1}",
    "LoRA of a chunk": entry("lora_scales: {no.safetensors: 1}"),
    "old first frame": "first_frames: [{chunk: 1, image: no.png}]",
    "blob": "data_blob_path: no.bin\n" + entry("vace_frames_offset: 0, vace_frames_shape: [1, 1, 12, 64, 64]"),
}


@pytest.mark.parametrize("text", MISSING.values(), ids=MISSING)
def test_missing_file(refused: Refused, text: str) -> None:
    Path("job.yaml").write_text(BASE + text)
    refused(["job.yaml"], 66, r"job\.yaml:\d+:\d+: .*no such file: .*no\.")


@pytest.mark.parametrize(
    ("file", "pattern"),
    [("wide", "5120.*256|256.*5120")],
    ids=["LoRA of the 14B"],
)
def test_lora_against_the_models(refused: Refused, file: str, pattern: str) -> None:
    job = BASE.replace("pipeline_id: slate", "models: tiny") + f"lora_scales: {{files/{file}.safetensors: 1}}\n"
    Path("job.yaml").write_text(job)
    refused(["job.yaml"], 65, pattern, loads=True)
