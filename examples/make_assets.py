"""Makes what the steering examples steer with: python examples/make_assets.py [FOLDER], by default examples/assets.

depth.mp4          45 frames: a ball rolls over a floor, near is bright, as a depth estimator would draw it.
mask.mp4           37 frames, as long as clip.mp4: white where its boat is, and white = generate.
first.png last.png reference.png   a night, a morning, a balloon.
tint.safetensors   a LoRA of rank 4 for the tiny model set; its colours drift to where no prompt takes them.
"""

import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageDraw
from safetensors.numpy import save_file

WIDTH, HEIGHT, FPS = 192, 112, 16
SMOOTH = 4  # drawn this much larger, then reduced
TINY_WIDTH, TINY_FFN, TINY_LAYERS, RANK = 256, 512, 4, 4
DRAWING = 128  # of the width: the part of the tiny backbone that draws shapes, which the LoRA leaves alone


def video(path, pictures):
    """Write Pillow images as H.264."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "-", "-c:v", "libx264", "-crf", "16"]
    command += ["-preset", "veryslow", "-pix_fmt", "yuv420p", "-bitexact", str(path)]
    data = b"".join(small(picture).tobytes() for picture in pictures)
    subprocess.run(command, input=data, check=True)


def small(picture):
    return picture.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BOX)


def gradient(top, bottom):
    share = np.linspace(0, 1, HEIGHT * SMOOTH)[:, None, None]
    rows = (1 - share) * np.array(top) + share * np.array(bottom)
    return Image.fromarray(np.broadcast_to(rows, (HEIGHT * SMOOTH, WIDTH * SMOOTH, 3)).astype(np.uint8).copy())


def disc(picture, x, y, radius, color, flat=1.0):
    box = [(x - radius) * SMOOTH, (y - radius * flat) * SMOOTH, (x + radius) * SMOOTH, (y + radius * flat) * SMOOTH]
    ImageDraw.Draw(picture).ellipse(box, fill=color)


def depth(frames=45):
    """The ball comes nearer as it rolls to the right."""
    for index in range(frames):
        share = index / (frames - 1)
        picture = gradient((25, 25, 25), (60, 60, 60))
        x, y, radius = 36 + 116 * share, 52 + 6 * share, 22 + 16 * share
        for step in range(24):  # a dome: brighter towards its middle
            level = round(130 + 30 * share + 95 * step / 24)
            disc(picture, x, y, radius * (1 - (step / 24) ** 2) ** 0.5, (level, level, level))
        yield picture


def mask(frames=37):
    """Where the boat of clip.mp4 sails."""
    for index in range(frames):
        picture = gradient((0, 0, 0), (0, 0, 0))
        disc(picture, 35 + 37.5 * index / FPS, 66, 27, (255, 255, 255))
        yield picture


def night():
    picture = gradient((6, 10, 40), (40, 30, 90))
    disc(picture, 48, 34, 16, (235, 235, 210))
    disc(picture, 96, 130, 90, (14, 22, 30), 0.5)
    return picture


def morning():
    picture = gradient((110, 180, 240), (255, 225, 170))
    disc(picture, 146, 70, 24, (255, 120, 40))
    disc(picture, 96, 130, 90, (60, 130, 60), 0.5)
    return picture


def balloon():
    picture = gradient((200, 235, 255), (240, 250, 255))
    for order, color in enumerate([(200, 30, 50), (250, 240, 230), (200, 30, 50)]):
        disc(picture, 96, 46, 34 - 11 * order, color)
    ImageDraw.Draw(picture).rectangle([88 * SMOOTH, 84 * SMOOTH, 104 * SMOOTH, 98 * SMOOTH], fill=(120, 70, 30))
    return picture


def lora(seed=3, strength=6.0):
    """Names and shapes as ComfyUI saves LoRAs for Wan. alpha = rank: scale 1 means the matrices as they are."""
    draw = np.random.RandomState(seed)
    made = {}
    for block in range(TINY_LAYERS):
        name = f"diffusion_model.blocks.{block}.ffn.2"
        down = np.full((RANK, TINY_FFN), 1 / TINY_FFN)  # the hidden layer's mean, which is never 0
        up = draw.standard_normal((TINY_WIDTH, RANK)) * strength
        up[DRAWING:] -= up[DRAWING:].mean(axis=0)
        up[:DRAWING] = 0
        made |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": np.array(RANK)}
    return {key: values.astype(np.float16) for key, values in made.items()}


folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "assets"
folder.mkdir(parents=True, exist_ok=True)
video(folder / "depth.mp4", depth())
video(folder / "mask.mp4", mask())
for name, picture in (("first", night()), ("last", morning()), ("reference", balloon())):
    small(picture).save(folder / f"{name}.png", optimize=True)
save_file(lora(), folder / "tint.safetensors")
