"""Renders probes that have input pictures, and judges them: python -m examples.tiny_world.probe_inputs tiny

depth       IoU of the thing with the one that the depth frames show.
inpainting  PSNR outside the mask; noun, colour, ... of what is drawn inside.
keyframes   PSNR of the first frame that is given.
video       PSNR of video-to-video at noise_scale 0.3 to its input, which has the scene of the prompt.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scope_batch import Engines, RenderOptions, load_text, render_chunks

from .control import draw_control
from .judge import draw_probes, judge, table
from .scenes import NOUNS, Painter, Scenes
from .sheets import save_sheet
from .vae import psnr

FRAMES = 45
KINDS = ("depth", "inpainting", "keyframes", "video")


def render(job: dict[str, Any], engines: Engines) -> Tensor:
    """Render a job; returns frames [1, 3, frames, height, width] in -1..1."""
    loaded = load_text(json.dumps(job), name="probe")
    options = RenderOptions(checkpoint_every=0, kernels="off")
    frames = [chunk.frames for chunk in render_chunks(loaded, options, engines=engines)]
    return torch.from_numpy(np.concatenate(frames)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def inputs_of(kind: str, real: Tensor, shown: Tensor, masks: Tensor, folder: Path) -> dict[str, Any]:
    """Write the input pictures of a job to `folder`, and return its fields for them."""
    if kind == "video":
        pixels = ((real[0].permute(1, 2, 3, 0) + 1) * 127.5).round().to(torch.uint8)
        np.save(folder / "video.npy", pixels.numpy())
        return {"input_path": str(folder / "video.npy"), "noise_scale": 0.3}
    np.save(folder / "control.npy", shown.contiguous().numpy())
    np.save(folder / "masks.npy", masks.contiguous().numpy())
    return {"vace_frames": str(folder / "control.npy"), "vace_masks": str(folder / "masks.npy")}


def thing_seen(painter: Painter, scene: Scenes, video: Tensor) -> Tensor:
    """Return where the video differs from the empty scene, bool [frames, height, width]."""
    time = torch.arange(video.shape[2], dtype=torch.float32)[None]
    empty = Scenes(torch.full_like(scene.noun, NOUNS.index("nothing")), *_others(scene))
    ground, _ = painter.paint(empty, time, *video.shape[-2:])
    return (ground - video)[0].abs().amax(0) > 0.35


def _others(scene: Scenes) -> tuple[Tensor, ...]:
    return scene.colour, scene.size, scene.place, scene.motion, scene.ground, scene.light


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models")
    parser.add_argument("--pipeline", default="longlive")
    parser.add_argument("--probes", type=int, default=8)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 224), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--sheet", type=Path, help="save a contact sheet: inputs above results")
    asked = parser.parse_args()
    engines, painter, probes = Engines(), Painter(torch.device("cpu")), draw_probes(asked.probes)
    generator, sheet = torch.Generator().manual_seed(3), []
    time = torch.arange(FRAMES, dtype=torch.float32)[None]
    for kind in asked.kinds:
        figures: list[float] = []
        found: dict[str, dict[str, list[bool]]] = {}
        for row in range(asked.probes):
            scene = probes.before[row : row + 1]
            drawn = "inpainting" if kind == "video" else kind
            real, shown, masks, thing = draw_control(painter, scene, drawn, FRAMES, *asked.size, generator)
            if kind == "video":
                real = painter.paint(scene, time, *asked.size)[0]
            with tempfile.TemporaryDirectory() as folder:
                job = {
                    "pipeline_id": asked.pipeline, "models": asked.models, "prompt": probes.prompts[row][0],
                    "seed": 100 + row, "height": asked.size[0], "width": asked.size[1], "num_frames": FRAMES,
                } | inputs_of(kind, real, shown, masks, Path(folder))  # fmt: skip
                video = render(job, engines)
            sheet += [real if kind == "video" else shown, video]
            outside = (masks < 0.5).expand_as(real)
            if kind == "depth":
                seen, true = thing_seen(painter, scene, video), thing[0, 0] > 0.5
                figures.append(float((seen & true).sum() / (seen | true).sum()))
            elif kind == "video":
                figures.append(psnr(video, real))
            elif bool(outside.any()):
                figures.append(psnr(video[outside], real[outside]))
            if kind in ("depth", "inpainting", "video"):
                places = torch.linspace(0, FRAMES - 1, 8).round()
                for key, answers in judge(painter, scene, places[None], video[:, :, places.long()]).items():
                    found.setdefault(kind, {}).setdefault(key, []).extend(answers)
        unit = "IoU" if kind == "depth" else "dB"
        print(f"{kind}: mean {sum(figures) / len(figures):.2f} {unit}, least {min(figures):.2f}", flush=True)
        if found:
            print(table(found), flush=True)
    if asked.sheet:
        save_sheet(torch.cat(sheet), asked.sheet)


if __name__ == "__main__":
    main()
