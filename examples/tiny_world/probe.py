"""Renders probes with the engine and judges them: python -m examples.tiny_world.probe MODELS

MODELS is tiny, or a folder of model files. Each probe is a prompt that changes 24 frames before the end.
`judge.py` judges the frames before the change, the twelve from the change on, and the last twelve. Of films of more
than 12 chunks only the end is judged: 36 frames before the change, and what follows.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scope_batch import Engines, RenderOptions, load_text, render_chunks

from .judge import Probes, draw_probes, judge_stages, table
from .scenes import Painter
from .sheets import save_sheet


def render(probes: Probes, row: int, asked: argparse.Namespace, engines: Engines) -> Tensor:
    """Render one probe; returns frames [1, 3, frames, height, width] in -1..1."""
    first, second = probes.prompts[row]
    height, width = asked.size
    text = json.dumps(
        {
            "pipeline_id": asked.pipeline, "models": str(asked.models), "prompt": first, "seed": 100 + row,
            "height": height, "width": width, "num_frames": 12 * asked.chunks - 3,
            "chunk_specs": [{"frame": 12 * (asked.chunks - 2) - 3, "text": second}],
        }
    )  # fmt: skip
    job = load_text(text, name=f"probe {row}")
    options = RenderOptions(checkpoint_every=0, kernels="off")
    frames = [chunk.frames for chunk in render_chunks(job, options, engines=engines)]
    return torch.from_numpy(np.concatenate(frames)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("--pipeline", default="longlive")
    parser.add_argument("--probes", type=int, nargs=2, default=(0, 64), metavar=("FIRST", "END"))
    parser.add_argument("--chunks", type=int, default=9)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 224), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--sheet", type=Path, help="save a contact sheet of all probes")
    asked = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    engines, painter, probes = Engines(), Painter(device), draw_probes(asked.probes[1])
    found: dict[str, dict[str, list[bool]]] = {}
    sheet = []
    for row in range(*asked.probes):
        video = render(probes, row, asked, engines).to(device)
        if asked.chunks > 12:
            video = video[:, :, -60:]
        judge_stages(painter, probes, row, asked.chunks, video, found)
        sheet.append(video.cpu())
        print(row, *probes.prompts[row], sep=" | ", flush=True)
    print(table(found))
    if asked.sheet:
        save_sheet(torch.cat(sheet), asked.sheet)


if __name__ == "__main__":
    main()
