"""Builds the pictures of the gallery from its jobs: python examples/gallery/build.py [--out FOLDER] [NAME ...]

A picture shows the film on the left and the slate of the same job on the right, as an animated WebP. Without names all
pictures are built, into this folder.
"""

import argparse
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that spin hold up everything beside them

from scope_batch import load_job, render_chunks

FOLDER = Path(__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
ENLARGED = 2  # factor between the film and its slate
GAP = 8  # pixels between them
QUALITY = 55  # of WebP, 0..100


def frames_of(path, **changes):
    """Render a job. Returns frames uint8 [T, H, W, 3]."""
    job = load_job(path, [f"{name}={value}" for name, value in changes.items()])
    return np.concatenate([made.frames for made in render_chunks(job)])


def picture_of(name):
    """Render a job of this folder and its slate. Returns Pillow images, one for each frame, and frames per second."""
    path = FOLDER / f"{name}.yaml"
    film = frames_of(path)
    height, width = (side * ENLARGED for side in film.shape[1:3])
    slate = frames_of(path, pipeline_id="slate", height=height, width=width)
    pictures = []
    for made, planned in zip(film, slate, strict=True):
        picture = Image.new("RGB", (2 * width + GAP, height))
        picture.paste(Image.fromarray(made).resize((width, height), Image.Resampling.BICUBIC))
        picture.paste(Image.fromarray(planned), (width + GAP, 0))
        pictures.append(picture)
    return pictures, load_job(path).fps or 16


def build(name, out):
    pictures, fps = picture_of(name)
    times_ms = [round(1000 * frame / fps) for frame in range(len(pictures) + 1)]
    durations_ms = [end - start for start, end in pairwise(times_ms)]
    target = out / f"{name}.webp"
    first, *rest = pictures
    first.save(target, save_all=True, append_images=rest, duration=durations_ms, loop=0, quality=QUALITY, method=4)
    print(f"{target}: {len(pictures)} frames, {target.stat().st_size // 1024} KiB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or several of {', '.join(NAMES)}")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the pictures")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"no such job: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or NAMES:
        build(name, arguments.out)


if __name__ == "__main__":
    main()
