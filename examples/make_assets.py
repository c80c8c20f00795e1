"""Creates the input files of the steering examples: python examples/make_assets.py [FOLDER], default examples/assets.

depth.mp4          45 frames of a depth map, near = bright: a ball rolls over a floor.
mask.mp4           37 frames, as long as clip.mp4: white (= generate) where the boat is.
first.png last.png reference.png   a night, a morning, a balloon.

outline.safetensors, a LoRA for the tiny models, is made by examples/tiny_world.
"""

import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT, FPS = 192, 112, 16
SMOOTH = 4  # factor of supersampling


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
    """Yield depth maps of a ball that rolls to the right and comes nearer."""
    for index in range(frames):
        share = index / (frames - 1)
        picture = gradient((25, 25, 25), (60, 60, 60))
        x, y, radius = 36 + 116 * share, 52 + 6 * share, 22 + 16 * share
        for step in range(24):  # a dome: brighter towards its middle
            level = round(130 + 30 * share + 95 * step / 24)
            disc(picture, x, y, radius * (1 - (step / 24) ** 2) ** 0.5, (level, level, level))
        yield picture


def mask(frames=37):
    """Yield masks of the boat in clip.mp4."""
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


folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "assets"
folder.mkdir(parents=True, exist_ok=True)
video(folder / "depth.mp4", depth())
video(folder / "mask.mp4", mask())
for name, picture in (("first", night()), ("last", morning()), ("reference", balloon())):
    small(picture).save(folder / f"{name}.png", optimize=True)
