"""Creates the input files of the steering examples: python examples/make_assets.py [FOLDER], default examples/assets.

depth.mp4          45 frames of a depth map, near = bright: a ball rolls over a floor.
scene.mp4          37 frames: a red boat on the sea, drawn as what the tiny models learnt.
mask.mp4           37 frames: white (= generate) where the boat is, and around it.
first.png last.png frame 0 and frame 32 of a purple ball that bounces in the snow.
reference.png      a red balloon.

outline.safetensors, a LoRA for the tiny models, is made by examples/tiny_world.
"""

import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))
from examples.tiny_world.scenes import Painter, scenes_of

WIDTH, HEIGHT, FPS = 192, 112, 16
SMOOTH = 4  # factor of supersampling


def video(path, pictures):
    """Write Pillow images as H.264."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "-", "-c:v", "libx264", "-crf", "16"]
    command += ["-preset", "veryslow", "-pix_fmt", "yuv420p", "-bitexact", str(path)]
    size = (WIDTH, HEIGHT)
    small = (picture.convert("RGB").resize(size, Image.Resampling.BOX) for picture in pictures)
    data = b"".join(picture.tobytes() for picture in small)
    subprocess.run(command, input=data, check=True)


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


def scene(frames=37, **features):
    """Return uint8 frames [T, H, W, 3] of a scene that the tiny models can draw, and where its thing is, [T, H, W]."""
    time = torch.arange(frames, dtype=torch.float32)[None]
    pixels, thing = Painter(torch.device("cpu")).paint(scenes_of([features]), time, HEIGHT, WIDTH)
    return ((pixels[0].permute(1, 2, 3, 0) + 1) * 127.5).round().to(torch.uint8).numpy(), thing[0, 0]


folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "assets"
folder.mkdir(parents=True, exist_ok=True)
video(folder / "depth.mp4", depth())
boat, place = scene(noun="boat", colour="red", place="left")
_, instead = scene(noun="turtle", place="left", ground="sea")
around = F.max_pool2d(torch.maximum(place, instead)[:, None], 17, 1, 8)[:, 0] > 0.05
video(folder / "scene.mp4", map(Image.fromarray, boat))
video(folder / "mask.mp4", map(Image.fromarray, around.numpy()))
ball, _ = scene(33, noun="ball", colour="purple", ground="snow")
balloon, _ = scene(1, noun="balloon", motion="still", ground="meadow")
for name, pixels in (("first", ball[0]), ("last", ball[32]), ("reference", balloon[0])):
    Image.fromarray(pixels).save(folder / f"{name}.png", optimize=True)
