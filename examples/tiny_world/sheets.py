"""Saves contact sheets and loss curves as images."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

SHOWN = tuple(
    (told, told) if isinstance(told, str) else told
    for told in (
        "a red ball bouncing in a meadow by day",
        "a yellow star spinning at night in the snowy mountains",
        "a white boat on the sea",
        "a big pink heart growing in the desert at sunset",
        "a small blue car moving right in the city at night",
        "an orange fish moving to the left on the left, in the sea",
        "a hot air balloon at sunrise",
        "a purple house in the snow, on the right",
        "a green tree in a meadow",
        "a bird circling over the ocean",
        "a stormy sea, lightning",
        ("a red ball bouncing in a meadow", "a red ball bouncing in the snow at night"),
        ("a hot air balloon at sunrise", "a stormy sea, lightning"),
        ("a blue car in the city", "a yellow star spinning in the desert"),
    )
)
"""Pairs of prompts; where they differ, the prompt changes in the middle."""


def save_sheet(clips: Tensor, path: Path, columns: int = 8) -> None:
    """Save evenly spaced frames of clips [rows, 3, frames, height, width] in -1..1, one row per clip."""
    frames = torch.linspace(0, clips.shape[2] - 1, columns).round().long()
    chosen = clips[:, :, frames].clamp(-1, 1).add(1).mul(127.5).round().byte().cpu()
    rows, _, _, height, width = chosen.shape
    sheet = chosen.permute(0, 3, 2, 4, 1).reshape(rows * height, columns * width, 3)
    Image.fromarray(np.ascontiguousarray(sheet.numpy())).save(path)


def draw_curves(curves: dict[str, list[tuple[int, float]]], path: Path) -> None:
    """Save curves of the loss over steps, one panel each, with a logarithmic scale."""
    width, height, edge = 420, 260, 44
    sheet = Image.new("RGB", (width * len(curves), height), "white")
    draw = ImageDraw.Draw(sheet)
    for panel, (name, points) in enumerate(curves.items()):
        if len(points) < 2:
            continue
        left = panel * width + edge
        steps, losses = zip(*points, strict=True)
        low, high = math.log10(min(losses)), math.log10(max(losses))
        wide, tall = width - edge - 16, height - 2 * edge
        line = [
            (
                left + wide * (step - steps[0]) / (steps[-1] - steps[0]),
                edge + tall * (high - math.log10(loss)) / (high - low),
            )
            for step, loss in points
        ]
        draw.rectangle([left, edge, left + wide, edge + tall], outline="gray")
        draw.line(line, fill=(30, 90, 200), width=2)
        draw.text((left, 14), f"{name}: loss by step", fill="black")
        draw.text((panel * width + 4, edge - 4), f"{max(losses):.2g}", fill="black")
        draw.text((panel * width + 4, edge + tall - 8), f"{min(losses):.2g}", fill="black")
        draw.text((left + wide - 40, edge + tall + 6), str(steps[-1]), fill="black")
    sheet.save(path)
