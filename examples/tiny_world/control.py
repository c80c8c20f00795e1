"""Trains the VACE module of the tiny world: depth and edges to follow, pixels to keep, and images as key frames.

The transformer stays as it is. Controls are drawn with the clips: see `draw_control`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from diffusers.models.transformers.transformer_wan_vace import WanVACETransformerBlock
from torch import Tensor, nn
from torch.nn import functional as F

from scope_batch.core.geometry import VACE_CHANNELS

from .chunks import to_patches
from .grounds import HORIZON
from .learning import WORDINGS, Shelf, statistics, thing_of_tokens
from .scenes import Painter, Scenes, draw_scenes
from .transformer import (
    CHUNK,
    FEED_FORWARD,
    HEAD_DIM,
    Runner,
    World,
    after_attention,
    before_attention,
    rotary_of,
)
from .vae import ClipVae
from .words import prompts_of, token_ids, tokenizer

BLOCKS = 2
CHUNKS = 4
"""Chunks of a clip with control."""
KINDS = (("depth", 0.35), ("edges", 0.15), ("inpainting", 0.35), ("keyframes", 0.15))
"""Kinds of control, with their shares."""


class Vace(nn.Module):
    """The VACE module, in the classes whose file the engine reads. Its blocks begin as those of the transformer."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.every = len(world.wan.blocks) // BLOCKS
        self.vace_patch_embedding = nn.Conv3d(VACE_CHANNELS, HEAD_DIM, (1, 2, 2), (1, 2, 2))
        self.vace_blocks = nn.ModuleList(
            WanVACETransformerBlock(
                HEAD_DIM, FEED_FORWARD, 1, "rms_norm_across_heads", cross_attn_norm=True,
                apply_input_projection=not index, apply_output_projection=True,
            )
            for index in range(BLOCKS)
        )  # fmt: skip
        with torch.no_grad():
            self.vace_patch_embedding.weight[:, :32] = world.wan.patch_embedding.weight.repeat(1, 2, 1, 1, 1)
            self.vace_patch_embedding.weight[:, 32:] *= 0.1
            for index, block in enumerate(self.vace_blocks):
                block.load_state_dict(world.wan.blocks[index * self.every].state_dict(), strict=False)
                nn.init.zeros_(block.proj_out.weight)
                nn.init.zeros_(block.proj_out.bias)
            nn.init.eye_(self.vace_blocks[0].proj_in.weight)
            nn.init.zeros_(self.vace_blocks[0].proj_in.bias)


@dataclass(frozen=True, slots=True)
class Control:
    """The control of noisy chunks.

    contexts  VACE contexts as patches, [clips, chunks, tokens, 384]; prompt: from `World.read`, [clips, rows, width].
    """

    vace: Vace
    runner: Runner
    contexts: Tensor
    prompt: Tensor
    grid: tuple[int, int]

    def start(self, x: Tensor, modulation: Tensor, weight: Tensor) -> Callable[[int, Tensor], Tensor]:
        """See `transformer.Steering`."""
        embedding, count = self.vace.vace_patch_embedding, self.contexts.shape[1]
        state = F.linear(
            self.contexts.to(x.dtype).flatten(0, 1), embedding.weight.flatten(1).to(x.dtype), embedding.bias.to(x.dtype)
        )
        rotary = rotary_of((0,), *self.grid, x.device)
        turns = torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)
        rows = self.prompt.to(x.dtype)

        def add(layer: int, hidden: Tensor) -> Tensor:
            nonlocal state
            if layer % self.vace.every:
                return hidden
            block = self.vace.vace_blocks[layer // self.vace.every]
            if block.proj_in is not None:
                state = _linear(state, block.proj_in) + x
            query, key, value = before_attention(block, state, modulation, rotary, turns)
            attended = F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])[:, 0]
            attention = block.attn2
            seen = F.rms_norm(_linear(rows, attention.to_k), (HEAD_DIM,), attention.norm_k.weight.to(x.dtype), 1e-6)
            told = (every.repeat_interleave(count, 0) for every in (seen, _linear(rows, attention.to_v)))
            state = after_attention(block, state, attended, modulation, *told, weight)
            return hidden + _linear(state, block.proj_out)

        return add


def _linear(x: Tensor, layer: nn.Linear) -> Tensor:
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def draw_control(
    painter: Painter, scenes: Scenes, kind: str, frames: int, height: int, width: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw clips with control of one kind.

    Returns the clips to make, the control frames, [batch, 3, frames, height, width] in -1..1 each, the masks (1 = make
    anew) and the share of the thing, with one channel.
    """
    count, device = len(scenes), painter.device

    def chance(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator).to(device)

    time = torch.arange(frames, device=device, dtype=torch.float32).expand(count, -1)
    real, thing = painter.paint(scenes, time, height, width)
    everywhere = torch.ones_like(thing)
    if kind == "depth":
        rows = ((torch.arange(height, device=device) / height - HORIZON) / (1 - HORIZON)).clamp_min(0)[:, None]
        far, near, level = 0.3 * chance(1, 1, 1, 1), 0.5 * chance(1, 1, 1, 1), 0.6 + 0.4 * chance(1, 1, 1, 1)
        ground = far + near * rows
        return real, ((ground * (1 - thing) + level * thing) * 2 - 1).expand_as(real), everywhere, thing
    if kind == "edges":
        gray = real.mean(1, keepdim=True)
        across, down = F.pad(gray.diff(dim=-1), (0, 1)), F.pad(gray.diff(dim=-2), (0, 0, 0, 1))
        lines = ((across.abs() + down.abs()) * 2 - 0.3).clamp(0, 1)
        return real, (lines * 2 - 1).expand_as(real), everywhere, thing
    gain = torch.where(chance(1, 1, 1, 1) < 0.4, 2 * chance(3, 1, 1, 1) - 1, torch.ones(1, device=device))
    if kind == "keyframes":
        frame = torch.arange(frames, device=device)[:, None, None]
        ends = torch.where(chance(1, 1, 1, 1) < 0.5, frames - 4, frames)
        kept = ((frame < 4) & (chance(1, 1, 1, 1) < 0.8)) | (frame >= ends)
        return real * gain, real * gain * kept, (~kept).float().expand_as(thing), thing
    other = draw_scenes(count, generator).to(device)
    instead, place = painter.paint(replace(scenes, noun=other.noun, colour=other.colour), time, height, width)
    around = F.max_pool2d(torch.maximum(thing, place)[:, 0], 17, 1, 8)[:, None] > 0.05
    x, y = (torch.arange(n, device=device) / n for n in (width, height))
    left, top, wide, high = (chance(1, 1, 1, 1) for _ in range(4))
    left, top, wide, high = 0.7 * left, 0.6 * top, 0.25 + 0.4 * wide, 0.3 + 0.5 * high
    box = (x > left) & (x < left + wide) & (y[:, None] > top) & (y[:, None] < top + high)
    mask = torch.where(chance(1, 1, 1, 1) < 0.5, around, box.expand_as(around)).float()
    shown = torch.where(chance(1, 1, 1, 1) < 0.6, instead, torch.zeros(1, device=device))
    return real * (mask + (1 - mask) * gain), real * gain * (1 - mask) + shown * mask, mask, thing


@torch.no_grad()
def fill_control_shelf(vae: ClipVae, painter: Painter, height: int, width: int, clips: int, seed: int) -> Shelf:
    """Draw clips of all kinds of control, and encode them with their contexts."""
    device, generator = painter.device, torch.Generator().manual_seed(seed)
    mean, deviation = statistics(device)
    frames, batch = 4 * CHUNK * CHUNKS - 3, min(24, clips)
    patches, things, contexts, tokens = [], [], [], []

    def encode(pixels: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            return (vae.encode(pixels)[0] - mean) / deviation

    for kind, share in KINDS:
        for first in range(0, round(share * clips), batch):
            scenes = draw_scenes(batch, generator)
            real, shown, masks, thing = draw_control(painter, scenes.to(device), kind, frames, height, width, generator)
            kept, anew = (encode(shown * keep) for keep in (1 - masks, masks))
            channels = torch.cat([kept, anew, _mask_channels(masks)], 1)
            patches.append(to_patches(encode(real)).to(torch.bfloat16))
            contexts.append(to_patches(channels).to(torch.bfloat16))
            things.append(thing_of_tokens(thing))
            told = scenes if kind in ("inpainting", "keyframes") else _vaguely(scenes, generator)
            splitter = tokenizer()
            ids = [token_ids(prompts_of(told, seed + first + i), splitter) for i in range(WORDINGS)]
            tokens.append(torch.stack([torch.stack(ids, 1)] * 2, 1))
    return Shelf(
        height, width, 0, torch.cat(patches), torch.cat(things), torch.cat(tokens).to(device),
        control=torch.cat(contexts),
    )  # fmt: skip


def _vaguely(scenes: Scenes, generator: torch.Generator) -> Scenes:
    """Replace what a control shows better than words: two of three times motion, place and size are others."""
    other, keep = draw_scenes(len(scenes), generator), torch.rand(len(scenes), generator=generator) < 1 / 3
    changed = {key: torch.where(keep, getattr(scenes, key), getattr(other, key)) for key in ("motion", "place", "size")}
    return replace(scenes, **changed)


def _mask_channels(masks: Tensor) -> Tensor:
    """Rearrange masks [batch, 1, frames, height, width] as `engine.vace.mask_channels` for chunks of 9, 12, 12 ..."""
    first = (1, 4, 7)
    later = [9 + 12 * chunk + middle for chunk in range(CHUNKS - 1) for middle in (2, 6, 10)]
    return F.pixel_unshuffle(masks[:, 0, [*first, *later]], 8).unflatten(1, (-1, 64)).transpose(1, 2)
