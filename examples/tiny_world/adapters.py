"""Trains small changes of the transformer: LoRAs for a style, and for streamdiffusionv2 and krea-realtime-video.

The linear layers of the blocks get a change of low rank; their weights stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from .transformer import World


class LowRank(nn.Module):
    """Adds up @ down to a weight. It begins as zero."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.down = nn.Parameter(torch.randn(rank, columns, device=weight.device) * columns**-0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def add_low_rank(world: World, rank: int, *, ends: bool = False) -> None:
    """Freeze the world but for a change of this rank in each linear layer of its blocks.

    ends  also train the patch embedding, the head, and the modulation of all blocks.
    """
    world.requires_grad_(False)
    for module in world.wan.blocks.modules():
        if isinstance(module, nn.Linear):
            parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank))
            module.parametrizations.weight.original.requires_grad_(False)
    if ends:
        for name, parameter in world.wan.named_parameters():
            if is_end(name):
                parameter.requires_grad_(True)


def is_end(name: str) -> bool:
    """Return True for the parameters that `add_low_rank` trains besides the linear layers of the blocks."""
    return name.startswith(("patch_embedding.", "proj_out.")) or name.endswith("scale_shift_table")


def changes(world: World, *, ends: bool = False) -> dict[str, Tensor]:
    """Return the low-rank changes in PEFT's naming, and the trained ends under their own names."""
    found: dict[str, Tensor] = {}
    for name, module in world.wan.blocks.named_modules():
        if isinstance(module, LowRank):
            layer = "blocks." + name.removesuffix(".parametrizations.weight.0")
            found[f"{layer}.lora_A.weight"], found[f"{layer}.lora_B.weight"] = module.down, module.up
    if ends:
        found |= {name: parameter for name, parameter in world.wan.named_parameters() if is_end(name)}
    return found


@torch.no_grad()
def load_changes(world: World, saved: Mapping[str, Tensor], *, ends: bool = False) -> None:
    """Set the changes to saved ones, which are named as `changes` names them."""
    for name, parameter in changes(world, ends=ends).items():
        parameter.copy_(saved[name])


def outlined(pixels: Tensor) -> Tensor:
    """Draw clips [batch, 3, frames, height, width] in -1..1 as dark lines on paper, with a hint of their colours."""
    gray = pixels.mean(1, keepdim=True)
    across, down = F.pad(gray.diff(dim=-1), (0, 1)), F.pad(gray.diff(dim=-2), (0, 0, 0, 1))
    ink = ((across.abs() + down.abs()) * 2 - 0.15).clamp(0, 1)
    paper = torch.tensor((0.9, 0.86, 0.74), device=pixels.device).view(3, 1, 1, 1)
    return (paper + 0.25 * (pixels - gray)) * (1 - ink) + ink * (-0.75)
