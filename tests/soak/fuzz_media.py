"""Media files that nobody should have: small valid ones of every kind, mutated in their bytes. Seeded."""

from __future__ import annotations

import random
import wave
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from scope_batch.media.ffmpeg import QUIET, run_quiet

HEIGHT, WIDTH, FRAMES = 64, 64, 20
VIDEO_FILES = {
    "clip.mp4": ("-pix_fmt", "yuv420p"),
    "clip.mov": ("-c:v", "prores_ks"),
    "clip.mkv": ("-c:v", "ffv1"),
    "clip.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime"),
    "clip.avi": ("-c:v", "mjpeg"),
    "clip.ts": ("-pix_fmt", "yuv420p"),
    "clip.gif": (),
    "clip.nut": ("-c:v", "rawvideo", "-pix_fmt", "rgb24"),
}


def write_assets(folder: Path) -> None:
    """One small valid file of every kind that a job can name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    source = f"testsrc=s={WIDTH}x{HEIGHT}:r=16:d={FRAMES / 16}"
    sound = f"sine=d={FRAMES / 16}"
    for name, options in VIDEO_FILES.items():
        heard = ("-f", "lavfi", "-i", sound) if name == "clip.mp4" else ()
        done = run_quiet([*QUIET, "-f", "lavfi", "-i", source, *heard, *options, "-y", str(folder / name)])
        assert done.returncode == 0, done.stderr
    np.save(folder / "clip.npy", frames)
    np.save(folder / "mask.npy", np.repeat(frames[..., :1] & 128, 3, axis=-1))
    np.save(folder / "planes.npy", rng.uniform(-1, 1, (1, 3, FRAMES, HEIGHT, WIDTH)).astype(np.float32))
    header = np.array([4, *frames.shape], "<u4").tobytes()
    (folder / "clip.bin").write_bytes(header + frames.tobytes())
    _write_pictures(folder, frames)
    control = {"frames": torch.zeros(1, 3, FRAMES, HEIGHT, WIDTH), "masks": torch.ones(1, 1, FRAMES, HEIGHT, WIDTH)}
    save_file(control, folder / "control.safetensors")
    pair = {"lora_A.weight": torch.ones(4, 256), "lora_B.weight": torch.ones(256, 4)}
    save_file(
        {f"diffusion_model.blocks.0.self_attn.q.{key}": value for key, value in pair.items()},
        folder / "lora.safetensors",
    )
    with wave.open(str(folder / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16_000))
    (folder / "export.json").write_text('{"timeline": {"entries": []}, "settings": {}}')


def _write_pictures(folder: Path, frames: Any) -> None:
    picture = Image.fromarray(frames[0])
    picture.save(folder / "image.png")
    picture.convert("P").save(folder / "palette.png", transparency=0)
    Image.fromarray(frames[0, ..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "image.jpg", exif=exif, comment=b"x" * 100)
    picture.save(folder / "image.webp")
    picture.save(folder / "moving.webp", save_all=True, append_images=[Image.fromarray(frame) for frame in frames[1:4]])
    picture.save(folder / "moving.png", save_all=True, append_images=[Image.fromarray(frame) for frame in frames[1:4]])


SUFFIXES = (
    ".mp4",
    ".mov",
    ".mkv",
    ".webm",
    ".gif",
    ".npy",
    ".bin",
    ".png",
    ".jpg",
    ".webp",
    ".safetensors",
    ".wav",
    "",
    ".PNG",
)
NUMBERS = (
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x80\x00\x00\x00",
    b"\x00\x00\x00\x01",
)


def mutated(seed: int, assets: Path, target: Path) -> Path:
    """Write the file of this seed into the folder `target`."""
    rng = random.Random(seed)
    names = sorted(path.name for path in assets.iterdir() if path.is_file())
    path = assets / rng.choice(names)
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = _mutate(rng, data, (assets / rng.choice(names)).read_bytes())
    suffix = rng.choice(SUFFIXES) if rng.random() < 0.1 else path.suffix
    written = target / f"{path.stem}{suffix}"
    written.write_bytes(data)
    return written


def mutate_one_of(seed: int, folder: Path) -> tuple[Path, bytes]:
    """Change one file below `folder` in place; the file and what it held."""
    rng = random.Random(seed)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = rng.choice(files)
    before = path.read_bytes()
    data = bytearray(before)
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = _mutate(rng, data, rng.choice(files).read_bytes()[:10_000])
    path.write_bytes(data)
    return path, before


def _mutate(rng: random.Random, data: bytearray, other: bytes) -> bytearray:
    reach = len(data) if rng.random() < 0.4 else min(len(data), 400)  # headers are where it hurts
    at = rng.randrange(reach + 1)
    end = min(len(data), at + rng.choice((1, 4, 16, 300)))
    match rng.randrange(8):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + bytes(rng.randrange(256) for _ in range(end - at)) + data[end:]
        case 2:
            return data[:at] + rng.choice(NUMBERS) + data[at + 4 :]
        case 3:
            return data[:at] + bytes(end - at) + data[end:]
        case 4:
            return data[:end] + data[at:end] + data[end:]
        case 5:
            return data[:at] + data[end:]
        case 6:
            return data[:at] + other[at : at + 500] + data[end:]
        case _:
            if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            return data


def jobs_for(path: Path, seed: int) -> dict[str, Any]:
    """A job of few frames that reads the file in one of the ways that its kind allows."""
    rng = random.Random(seed)
    base = {"pipeline_id": "slate", "prompt": "a", "num_frames": 13, "height": HEIGHT, "width": WIDTH}
    video = {"input_path": str(path), "input_length": "hold"}
    control = {"vace_frames": str(path), "vace_length": "hold"}
    mask = {"vace_masks": str(path), "vace_length": "hold"}
    image = {"chunk_specs": [{"chunk": 0, "first_frame_image": str(path)}]}
    ways: dict[str, tuple[dict[str, Any], ...]] = {
        **dict.fromkeys(
            (".png", ".jpg", ".webp", ".PNG"), (image, image, video, mask, {"vace_ref_images": [str(path)]})
        ),
        **dict.fromkeys((".npy", ".bin"), (video, control, mask)),
        ".safetensors": ({"lora_scales": {str(path): 1}}, control, mask) if "lora" in path.name else (control, mask),
        ".wav": ({"audio": str(path)},),
    }
    sound = {**video, "audio": "input"}
    return base | rng.choice(ways.get(path.suffix, (video, video, control, mask, sound)))
