"""Bad jobs and bad files through the command line: one clear line, the documented exit code, nothing written."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from scope_batch.models.tiny.build import tiny_models_folder
from tests.render.helpers import Refused, ffmpeg, names_in

BASE = "pipeline_id: slate\nprompt: a\nnum_frames: 20\nheight: 64\nwidth: 64\n"
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefg", "bcdefgh", strict=True)
)


LONG = "x" * 255


def entries(*lines: str) -> str:
    return "chunk_specs:\n" + "".join(f"  - {line}\n" for line in lines)


JOBS: list[tuple[str, str, int, str]] = [
    ("unknown key", "noise_scal: 0.5", 65, r"job.yaml:6:1: noise_scal: unknown key \(did you mean noise_scale\?\)"),
    ("wrong type", "fps: fast", 65, r"job.yaml:6:6: fps: "),
    ("number for a prompt", "prompt: 3", 65, "the key prompt is here twice"),
    ("text and prompts", entries("{chunk: 1, text: a, prompts: [{text: b}]}"), 65, "set twice"),
    ("duplicate chunk", entries("{chunk: 1, text: a}", "{chunk: 1, text: b}"), 65, "chunk 1 has an entry already"),
    ("no place", entries("{text: a}"), 65, "needs its place"),
    ("beyond the end", entries("{chunk: 9, text: b}"), 65, r"job.yaml:7:\d+: .*chunk"),
    ("frame beyond the end", entries("{frame: 20, text: b}"), 65, r"job.yaml:7:\d+: .*frame"),
    ("time beyond the end", entries("{time: 99, text: b}"), 65, r"job.yaml:7:\d+: .*time"),
    ("negative weight", entries("{chunk: 1, prompts: [{text: b, weight: -1}]}"), 65, "at least 0"),
    ("bomb", BOMB, 65, "aliases refer to more than"),
    ("tag", "x: !!python/object/apply:os.system [ls]", 65, "is not allowed"),
    ("tab", "\tseed: 1", 65, "not valid YAML"),
    ("two documents", "---\nprompt: b", 65, "a second document"),
    ("variable", "output: ${NOT_SET_ANYWHERE}", 65, "NOT_SET_ANYWHERE is not set"),
    ("pipeline", "version: 7", 65, "unknown version 7"),
    ("number format", "quantization: fp8", 65, "quantization"),
    ("infinite", "noise_scale: .inf", 65, "not a number that a job can use"),
    ("extension", "output: out.avi", 65, r"unknown extension '?\.avi"),
    ("pattern", "output: out.png", 65, "needs one number in its file name"),
    ("twice", "output: [a.mp4, ./a.mp4]", 65, "named twice"),
    ("preset", "video: {preset: plaid}", 65, "plaid"),
    ("codec in a container", "output: {path: a.webm, codec: libx264}", 65, "webm"),
    ("crf for an array", "output: {path: a.npy, crf: 3}", 65, "npy has no encoder settings"),
    ("pixel format", "video: {pix_fmt: yuv999}", 65, "yuv999"),
    ("long name of an input", f"input_path: {LONG}.mp4", 65, "input_path: .*: cannot be read: File name too long"),
    ("long name of a control", f"vace_frames: {LONG}.mp4", 65, "vace_frames: .*: cannot be read: File name too long"),
    ("long name of a sound", f"audio: {LONG}.wav", 65, "audio: .*: cannot be read: File name too long"),
    ("long name of an image", entries(f"{{chunk: 0, first_frame_image: {LONG}.png}}"), 65, "File name too long"),
    ("long name of a LoRA", f"lora_scales: {{{LONG}.safetensors: 1}}", 65, "File name too long"),
    ("long name of an output", f"output: {LONG}.mp4", 74, "File name too long"),
    ("missing input", "input_path: nowhere.mp4", 66, r"input_path: no such file: .*nowhere\.mp4"),
    ("missing audio", "audio: nowhere.wav", 66, "nowhere.wav"),
    ("input of no kind", "input_path: files/text.txt", 65, "unknown kind of input"),
    ("text as video", "input_path: files/text.mp4", 65, r"text\.mp4: cannot be read"),
    ("empty video", "input_path: files/empty.mp4", 65, r"empty\.mp4: is empty"),
    ("mp4 without its middle", "input_path: files/middle.mp4", 65, r"middle\.mp4: cannot be read"),
    ("truncated mp4", "input_path: files/cut.mp4", 65, r"cut\.mp4: .*cut short"),
    ("sound only", "input_path: files/sound.mp4", 65, "has no video stream"),
    ("truncated npy", "input_path: files/cut.npy", 65, "is cut short: it holds"),
    ("npy of objects", "input_path: files/objects.npy", 65, "holds Python objects, which are never loaded"),
    ("npy of floats", "input_path: files/floats.npy", 65, "dtype float32 is not uint8"),
    ("npy of gray frames", "input_path: files/gray.npy", 65, r"is not \[T, H, W, 3\]"),
    ("truncated bin", "input_path: files/cut.bin", 65, "header"),
    ("empty folder", "input_path: files/nothing", 65, "nothing"),
    (
        "too short",
        "input_path: files/clip.mp4\ninput_length: error\n",
        65,
        "the input has 5 frames, the job asks for 20",
    ),
    ("start after the end", "input_path: files/clip.mp4\ninput_start: 99", 65, r"clip\.mp4|input_start"),
    ("playlist", "input_path: files/list.mp4", 65, r"list\.mp4: cannot be read"),
    ("sound of no kind", "audio: files/text.txt", 65, r"text\.txt"),
    ("sound of a silent clip", "input_path: files/clip.mp4\naudio: input", 65, r"clip\.mp4|audio"),
]

OPTIONS: list[tuple[str, list[str], int, str]] = [
    ("no such job", ["nowhere.yaml"], 66, "nowhere.yaml: no such job file"),
    ("height 479", ["job.yaml", "--set", "height=479"], 65, "must be a multiple of 16, not 479"),
    ("set without =", ["job.yaml", "--set", "height"], 2, "height"),
    ("set of an unknown key", ["job.yaml", "--set", "heigt=64"], 65, "did you mean height"),
    ("device", ["job.yaml", "--device", "tpu"], 2, "--device tpu: not known"),
    ("both", ["job.yaml", "-q", "-v"], 2, "contradict"),
    ("format without -", ["job.yaml", "-o", "a.npy", "-f", "nut"], 2, "-f"),
    ("hole", ["job.yaml", "-o", "{jib}.mp4"], 2, r"\{jib\} is not known"),
    ("two jobs, one file", ["job.yaml", "job.yaml", "-o", "a.mp4"], 2, r"need \{job\}"),
    ("output extension", ["job.yaml", "-o", "a.exe"], 65, r"unknown extension '?\.exe"),
    ("output without extension", ["job.yaml", "-o", "movie"], 65, "unknown extension"),
    ("output is a folder", ["job.yaml", "-o", "files/folder.npy"], 65, "is not a plain file"),
    ("preview", ["job.yaml", "--preview", "p.jpg"], 65, r"allowed: \.png"),
    ("latents of the slate", ["job.yaml", "--latents", "l.safetensors"], 65, "has no latents"),
    ("time", ["job.yaml", "--timeout", "0"], 2, "more than 0 seconds"),
    ("unknown option", ["job.yaml", "--fasst"], 2, "--fasst"),
    ("job of nobody", ["files/clip.mp4"], 65, "contains no scope-batch job"),
    ("output in a file", ["job.yaml", "-o", "job.yaml/a.npy"], 74, r"job\.yaml/a\.npy: .*job\.yaml is not a folder"),
    ("progress file", ["job.yaml", "--progress-file", "no/where"], 74, "--progress-file"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Input files with something wrong about each; only clip.mp4 is whole: 5 frames."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "nothing").mkdir()
    (folder / "folder.npy").mkdir()
    for name in ("text.txt", "text.mp4"):
        (folder / name).write_text("just a text\n" * 40)
    (folder / "empty.mp4").touch()
    (folder / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nclip.mp4\n")
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:r=10:d=0.5", "-pix_fmt", "yuv420p", folder / "clip.mp4")
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.3", folder / "sound.mp4")
    (folder / "cut.mp4").write_bytes((folder / "clip.mp4").read_bytes()[:-700])
    whole = (folder / "clip.mp4").read_bytes()
    (folder / "middle.mp4").write_bytes(whole[:600] + whole[1600:])
    frames = np.zeros((4, 64, 64, 3), np.uint8)
    np.save(folder / "whole.npy", frames)
    (folder / "cut.npy").write_bytes((folder / "whole.npy").read_bytes()[:-64])
    np.save(folder / "objects.npy", np.array([Path("x")] * 3, object), allow_pickle=True)
    np.save(folder / "floats.npy", frames.astype(np.float32))
    np.save(folder / "gray.npy", frames[..., 0])
    (folder / "cut.bin").write_bytes(b"\x04\0\0\0\x05")
    return folder


@pytest.fixture(autouse=True)
def _files_here(files: Path, tmp_path: Path) -> None:
    (tmp_path / "files").symlink_to(files)


@pytest.mark.parametrize(("text", "code", "pattern"), [case[1:] for case in JOBS], ids=[case[0] for case in JOBS])
def test_job(refused: Refused, text: str, code: int, pattern: str) -> None:
    Path("job.yaml").write_text(BASE + text)
    refused(["job.yaml"], code, pattern)


@pytest.mark.parametrize(
    ("arguments", "code", "pattern"), [case[1:] for case in OPTIONS], ids=[case[0] for case in OPTIONS]
)
def test_option(refused: Refused, arguments: list[str], code: int, pattern: str) -> None:
    Path("job.yaml").write_text(BASE)
    refused(arguments, code, pattern)


BACKBONE = "LongLive-1.3B/models/longlive_base.pt"
LORA = "LongLive-1.3B/models/lora.pt"
VAE = "Autoencoders/lightvaew2_1.pth"
TEXT = "WanVideo_comfy/umt5-xxl-enc-fp8_e4m3fn.safetensors"
TOKENIZER = "Wan2.1-T2V-1.3B/google/umt5-xxl"


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("was_run"),))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def overwritten(path: Path) -> None:
    path.write_text("{")


def code(path: Path) -> None:
    path.write_bytes(pickle.dumps({"generator": Code()}))


def code_in_an_archive(path: Path) -> None:
    torch.save({"generator": Code()}, path)


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """`change` is done to the tensors of a checkpoint; it may return others."""

    def edit(path: Path) -> None:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
            save_file(change(tensors) or tensors, path)
            return
        loaded = torch.load(path, weights_only=True)
        (key, inner) = next(iter(loaded.items())) if len(loaded) == 1 else (None, loaded)
        inner = change(inner) or inner
        torch.save(inner if key is None else {key: inner}, path)

    return edit


def first_gone(tensors: dict[str, Any]) -> None:
    del tensors[next(iter(tensors))]


def last_gone(tensors: dict[str, Any]) -> None:
    del tensors[list(tensors)[-1]]


def prefixed(tensors: dict[str, Any]) -> dict[str, Any]:
    return {f"wrapped.net.{key}": tensor for key, tensor in tensors.items()}


def first_longer(tensors: dict[str, Any]) -> None:
    key = next(key for key in tensors if tensors[key].ndim > 1)
    tensors[key] = torch.cat([tensors[key], tensors[key]])


def zero(tensors: dict[str, Any]) -> None:
    for tensor in tensors.values():
        tensor.zero_()


MODELS: list[tuple[str, str, Callable[[Path], None], int, str]] = [
    ("no VAE", VAE, Path.unlink, 69, r"model files missing.*lightvaew2_1\.pth.*--models tiny"),
    ("no tokenizer", f"{TOKENIZER}/tokenizer_config.json", Path.unlink, 69, "model files missing"),
    ("cut backbone", BACKBONE, cut, 65, r"longlive_base\.pt: not a readable checkpoint"),
    ("cut text encoder", TEXT, cut, 65, "truncated or damaged"),
    ("code", BACKBONE, code, 65, r"longlive_base\.pt: "),
    ("code in an archive", BACKBONE, code_in_an_archive, 65, r"longlive_base\.pt: "),
    ("prefix", BACKBONE, edited(prefixed), 65, r"not a Wan backbone: .*its first keys are wrapped\.net"),
    ("first tensor", BACKBONE, edited(first_gone), 65, "patch_embedding.weight is missing"),
    ("missing tensor", BACKBONE, edited(last_gone), 65, "1 of .* tensors of the .* are missing"),
    ("missing tensor of the VAE", VAE, edited(first_gone), 65, "Wan VAE"),
    ("missing tensor of the text encoder", TEXT, edited(first_gone), 65, "UMT5 text encoder"),
    ("shape", BACKBONE, edited(first_longer), 65, "shape|made for another|not a"),
    ("half a LoRA", LORA, edited(first_gone), 65, "half a pair"),
    ("empty LoRA", LORA, edited(zero), 65, "every lora_B or alpha is zero"),
    ("empty backbone", BACKBONE, edited(zero), 65, "is all zeros"),
    ("config", "Wan2.1-T2V-1.3B/config.json", overwritten, 65, r"config\.json"),
    ("tokenizer", f"{TOKENIZER}/tokenizer.json", overwritten, 65, "tokenizer"),
]


@pytest.mark.parametrize(
    ("name", "damage", "code", "pattern"), [case[1:] for case in MODELS], ids=[case[0] for case in MODELS]
)
def test_model_files(
    refused: Refused, tmp_path: Path, name: str, damage: Callable[[Path], None], code: int, pattern: str
) -> None:
    shutil.copytree(tiny_models_folder(), tmp_path / "models")
    damage(tmp_path / "models" / name)
    Path("job.yaml").write_text("prompt: never seen before\nnum_frames: 9\nheight: 64\nwidth: 64\nvae_type: lightvae\n")
    refused(["job.yaml", "--models", "models"], code, pattern, loads=True)
    assert "was_run" not in names_in(tmp_path)


@pytest.mark.parametrize(
    ("text", "arguments", "code", "pattern"),
    [
        (f"prompt: {'many words ' * 600}", [], 65, "512"),
        ("prompt: a", ["--device", "cuda:7"], 69, "--device cuda:7: this machine has"),
        ("prompt: a\nnoise_device: cuda", [], 69, "noise_device cuda: this machine has no CUDA"),
        ("prompt: a", ["--models", "nowhere"], 69, "nowhere: no such folder of model files"),
        ("prompt: a", ["--latents", "l.npy"], 65, r"allowed: \.safetensors"),
    ],
    ids=["long prompt", "device", "noise device", "models", "latents"],
)
def test_tiny(refused: Refused, text: str, arguments: list[str], code: int, pattern: str) -> None:
    if "cuda" in f"{text}{arguments}" and torch.cuda.is_available():
        pytest.skip("there is such a device")
    Path("job.yaml").write_text(f"{text}\nheight: 64\nwidth: 64\nnum_frames: 9\n")
    models = [] if "--models" in arguments else ["--models", "tiny"]
    refused(["job.yaml", *models, *arguments], code, pattern, loads=True)
