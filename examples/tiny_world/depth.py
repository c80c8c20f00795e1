"""Trains the model of the processor `depth` for `models: tiny`: in minutes on a GPU or a CPU.

    python -m examples.tiny_world.depth OUT [--minutes 3]

The network is a small DepthAnything of the transformers library. Nearness in the tiny world: the thing is in front, the
ground comes nearer from the horizon down, the sky is farthest.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

from scope_batch.engine.depth import MEAN, STD

from . import grounds
from .scenes import PERIOD, Painter, draw_scenes

SHORT_SIDE, PATCH = 64, 8
SHAPES = ((128, 224), (192, 192), (112, 192), (128, 128))
"""Height and width of the frames in pixels."""
BATCH, RATE = 32, 2e-3
FRONT, GROUND = 10.0, 7.0
"""Nearness of the thing, and of the ground at the lower edge of the frame; the sky has 0."""


def new_network() -> DepthAnythingForDepthEstimation:
    backbone = Dinov2Config(
        hidden_size=48, num_hidden_layers=4, num_attention_heads=3, mlp_ratio=2, image_size=SHORT_SIDE,
        patch_size=PATCH, out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, patch_size=PATCH, reassemble_hidden_size=48, neck_hidden_sizes=[12, 16, 24, 24],
        fusion_hidden_size=16, head_in_index=-1, head_hidden_size=12,
    )  # fmt: skip
    network = DepthAnythingForDepthEstimation(config)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.reset_parameters()
    last = network.head.conv3
    torch.nn.init.constant_(last.bias, FRONT / 2)  # its output passes a ReLU, behind which nothing would be learnt
    return network


def draw(painter: Painter, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return frames, float [batch, 3, H, W] normalised for the network, and their nearness [batch, H, W]."""
    scenes = draw_scenes(BATCH, generator).to(painter.device)
    moment = torch.rand(BATCH, 1, generator=generator).to(painter.device) * PERIOD
    pixels, share = painter.paint(scenes, moment, height, width)
    row = (torch.arange(height, device=painter.device) + 0.5) / height
    ground = (GROUND * (row - grounds.HORIZON) / (1 - grounds.HORIZON)).clamp(min=0)[None, :, None]
    thing = share[:, 0, 0]
    nearness = ground * (1 - thing) + FRONT * thing
    rows, columns = input_size(height, width)
    mean, std = (torch.tensor(values, device=painter.device)[:, None, None] for values in (MEAN, STD))
    seen = F.interpolate((pixels[:, :, 0] + 1) / 2, (rows, columns), mode="bicubic", antialias=True)
    return (seen - mean) / std, F.interpolate(nearness[:, None], (rows, columns), mode="area")[:, 0]


def input_size(height: int, width: int) -> tuple[int, int]:
    scale = SHORT_SIDE / min(height, width) / PATCH
    return round(height * scale) * PATCH, round(width * scale) * PATCH


def train(minutes: float, device: torch.device) -> DepthAnythingForDepthEstimation:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    painter, network = Painter(device), new_network().to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
    started_s, done, step = time.monotonic(), 0.0, 0
    while done < 1:
        done = (time.monotonic() - started_s) / (60 * minutes)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 100) * max(1 - done, 0.01)
        frames, nearness = draw(painter, *SHAPES[step % len(SHAPES)], generator)
        loss = F.l1_loss(network(frames).predicted_depth, nearness)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 200 == 0 or done >= 1:
            print(f"step {step}  {60 * minutes * done:.0f} s  mean error {loss.item():.3f} of {FRONT:g}", flush=True)
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for config.json and model.safetensors")
    parser.add_argument("--minutes", type=float, default=3.0)
    arguments = parser.parse_args()
    network = train(arguments.minutes, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    network.half().cpu().save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
