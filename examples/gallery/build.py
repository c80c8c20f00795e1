"""Builds the pictures of the gallery from its jobs: python examples/gallery/build.py [--out FOLDER] [NAME ...]

A picture shows the film on the left and the slate of the same job on the right, as an animated WebP. Without names all
pictures are built, into this folder. The films are rendered on the models of `examples/tiny_world`, or of --models,
except those in BUILT_IN.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that spin hold up everything beside them

from scope_batch import RenderOptions, load_job, render_chunks

FOLDER = Path(__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
BUILT_IN = {"depth", "first_to_last", "lora_ramp"}  # rendered on `models: tiny`
ENLARGED = 2  # factor between the film and its slate
GAP = 8  # pixels between them
QUALITY = 55  # of WebP, 0..100


def frames_of(path, models, **changes):
    """Render a job on a folder of models, None: on its own. Returns frames uint8 [T, H, W, 3]."""
    job = load_job(path, [f"{name}={value}" for name, value in changes.items()])
    return np.concatenate([made.frames for made in render_chunks(job, RenderOptions(models=models))])


def picture_of(name, models):
    """Render a job of this folder and its slate. Returns Pillow images, one for each frame, and frames per second."""
    path = FOLDER / f"{name}.yaml"
    film = frames_of(path, models)
    height, width = (side * ENLARGED for side in film.shape[1:3])
    slate = frames_of(path, None, pipeline_id="slate", height=height, width=width)
    pictures = []
    for made, planned in zip(film, slate, strict=True):
        picture = Image.new("RGB", (2 * width + GAP, height))
        picture.paste(Image.fromarray(made).resize((width, height), Image.Resampling.BICUBIC))
        picture.paste(Image.fromarray(planned), (width + GAP, 0))
        pictures.append(picture)
    return pictures, load_job(path).fps or 16


def build(name, out, models):
    pictures, fps = picture_of(name, models)
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
    parser.add_argument("--models", type=Path, help="folder of model files; made from examples/tiny_world without it")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"no such job: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    names = arguments.names or NAMES
    with tempfile.TemporaryDirectory() as folder:
        models = arguments.models or Path(folder)
        if arguments.models is None and not BUILT_IN.issuperset(names):
            export = [sys.executable, "-m", "examples.tiny_world.export", "models", str(models)]
            subprocess.run(export, cwd=FOLDER.parents[1], check=True)
        for name in names:
            build(name, arguments.out, None if name in BUILT_IN else str(models))


if __name__ == "__main__":
    main()
