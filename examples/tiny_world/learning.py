"""How the transformer learns: clips that wait as latents on the device, and the loss of one step.

Teacher forcing: the noisy chunks of a clip see the clean ones as they will see what they made themselves. Later the
clean ones are partly taken from videos that the transformer has made by itself, with the true scene still the target,
so that it learns to mend its own faults.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from scope_batch.engine.vae_stream import LATENT_MEAN, LATENT_STD

from .chunks import STEPS, Layout, rollout, to_patches
from .scenes import Painter, change_scenes, draw_scenes
from .transformer import CHUNK, Runner
from .vae import ClipVae
from .words import prompts_of, token_ids, tokenizer

CHUNKS = 7
FRAMES = 4 * CHUNK * CHUNKS - 3
NOISY = 9
"""Noisy chunks in a step, of each clip."""
WORDINGS = 4
"""Prompts of each scene."""
MOVED = (0, 0, 0, 0, 3, 9, 30, 60, 120, 240, 480, 900)
"""Latent frames by which a clip's first chunk may lie farther back than it does, so that long videos are known."""

_UP_TO_STEP = (0.4, 0.65, 0.85)
"""How often each of the sampler's steps is trained, summed up: the first has most to do."""
THING_WEIGHT = 6.0


@dataclass(slots=True)
class Shelf:
    """Clips of one size whose scene changes before chunk `switch` (0: never). They are CHUNKS long, or 1: openings.

    patches  true latents, normalised, bfloat16 [clips, chunks, tokens, 64]; own: as the transformer made them.
    thing    the share of each token that shows the thing: [clips, chunks, tokens].
    tokens   of the prompts before and after: [clips, 2, WORDINGS, TOKENS].
    """

    height: int
    width: int
    switch: int
    patches: Tensor
    thing: Tensor
    tokens: Tensor
    own: Tensor | None = None

    @property
    def grid(self) -> tuple[int, int]:
        return self.height // 16, self.width // 16

    @property
    def openings(self) -> bool:
        return self.patches.shape[1] == 1


def statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Wan's latent mean and deviation, [1, 16, 1, 1, 1]."""
    mean, deviation = (torch.tensor(v, device=device).view(1, 16, 1, 1, 1) for v in (LATENT_MEAN, LATENT_STD))
    return mean, deviation


@torch.no_grad()
def fill_shelf(
    vae: ClipVae,
    painter: Painter,
    height: int,
    width: int,
    switch: int,
    clips: int,
    seed: int,
    chunks: int = CHUNKS,
) -> Shelf:
    """Draw scenes and encode them."""
    device, generator = painter.device, torch.Generator().manual_seed(seed)
    before = draw_scenes(clips, generator)
    after = change_scenes(before, generator) if switch else before
    mean, deviation = statistics(device)
    patches, things, frames = [], [], 4 * CHUNK * chunks - 3
    batch = max(1, 972 // frames)
    for first in range(0, clips, batch):
        rows = slice(first, first + batch)
        pair = before[rows].to(device), after[rows].to(device)
        pixels, thing = painter.clip(*pair, 12 * switch - 3 if switch else 0, frames, height, width)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            latents = vae.encode(pixels)[0]
        patches.append(to_patches((latents - mean) / deviation).to(torch.bfloat16))
        things.append(_thing_of_tokens(thing))
    splitter = tokenizer()
    tokens = [
        torch.stack([token_ids(prompts_of(scenes, seed + i), splitter) for i in range(WORDINGS)], 1)
        for scenes in (before, after)
    ]
    return Shelf(height, width, switch, torch.cat(patches), torch.cat(things), torch.stack(tokens, 1).to(device))


def _thing_of_tokens(thing: Tensor) -> Tensor:
    """[batch, 1, frames, height, width] -> the largest share in each token's pixels, [batch, chunks, tokens]."""
    cells = F.max_pool2d(thing[:, 0], 16)
    later = cells[:, 1:].unflatten(1, (-1, 4)).amax(2)
    return torch.cat([cells[:, :1], later], 1).unflatten(1, (-1, CHUNK)).flatten(2).to(torch.bfloat16)


def noisy_chunks(switch: int, *, moved: bool) -> tuple[int, ...]:
    """Which chunks a step makes noisy: those whose past is as it would be, and the first, more often than others."""
    start = max(switch, 3 if moved else 1)
    first = (0,) if moved or switch else (0, 0, 0)
    others = [start + i % (CHUNKS - start) for i in range(NOISY - len(first))]
    return (*first, *sorted(others))


OPENING = Layout(0, (0,))
"""Of openings: the first chunk alone, which sees nothing but itself. Its pictures come from the prompt."""


@cache
def layout_of(switch: int, *, moved: bool) -> Layout:
    return Layout(CHUNKS, noisy_chunks(switch, moved=moved), switch, late=moved)


@cache
def on_device(values: tuple[object, ...], device: torch.device) -> Tensor:
    """Sent once: a copy in every step would wait for the device."""
    return torch.tensor(values, device=device)


def step_loss(runner: Runner, shelf: Shelf, layout: Layout, rotary: Tensor, count: int, own_share: float) -> Tensor:
    """The loss over `count` clips: the flow's squared error, weighted where the thing is."""
    device = shelf.patches.device
    rows = torch.randint(len(shelf.patches), (count,), device=device)
    real = shelf.patches[rows].float()
    clean = real[:, : layout.chunks]
    if shelf.own is not None and own_share:
        use = torch.rand(count, 1, 1, 1, device=device) < own_share
        clean = torch.where(use, shelf.own[rows].float(), clean)
    blur = 0.2 * torch.rand(count, 1, 1, 1, device=device) * (torch.rand(count, 1, 1, 1, device=device) < 0.5)
    clean = clean + blur * torch.randn_like(clean)
    chunks = on_device(layout.noisy, device)
    target, shape = real[:, chunks], (count, len(layout.noisy))
    chosen = (torch.rand(*shape, 1, device=device) > on_device(_UP_TO_STEP, device)).sum(-1)
    picked = on_device(STEPS, device)[chosen]
    any_one = torch.rand(shape, device=device).clamp_min(0.02)
    of_sampler = torch.rand(shape, device=device) < 0.75
    timestep, sigma = (torch.where(of_sampler, picked[..., i], any_one * (1000, 1)[i]) for i in (0, 1))
    noise = torch.randn_like(target)
    noisy = torch.lerp(target, noise, sigma[..., None, None])
    wording = torch.randint(WORDINGS, (count,), device=device)
    tokens = shelf.tokens[rows, :, wording]
    read = runner.world.read(tokens.flatten(0, 1)).unflatten(0, (count, 2))
    flow = runner(
        torch.cat([clean, noisy], 1),
        torch.cat([timestep.new_zeros(count, layout.chunks), timestep], 1),
        [(_of_groups(k, layout), _of_groups(v, layout)) for k, v in runner.prompt_keys(read)],
        rotary,
        layout.attend,
        head_from=layout.chunks,
    )
    weight = 1 + THING_WEIGHT * shelf.thing[rows][:, chunks].float().unsqueeze(-1)
    return ((flow - (noise - target)).square() * weight).mean() / weight.mean()


def _of_groups(both: Tensor, layout: Layout) -> Tensor:
    """[batch, 2, rows, width] of the prompts before and after -> [batch, groups, rows, width]."""
    prompts = both.unbind(1)
    return torch.stack([prompts[layout.prompt(group)] for group in range(len(layout.groups))], 1)


@torch.no_grad()
def make_own(runner: Runner, shelf: Shelf, count: int) -> Tensor:
    """Let the transformer make `count` clips of a shelf by itself, from noise and prompts alone."""
    assert shelf.own is not None
    device = shelf.patches.device
    rows, wording = (
        torch.randint(len(shelf.patches), (count,), device=device),
        torch.randint(WORDINGS, (count,), device=device),
    )
    before, after = runner.world.read(shelf.tokens[rows, :, wording].flatten(0, 1)).unflatten(0, (count, 2)).unbind(1)

    def noise(_: int, __: int) -> Tensor:
        return torch.randn(count, 1, *shelf.patches.shape[2:], device=device)

    made = rollout(runner, (before, after), CHUNKS, *shelf.grid, shelf.switch, noise).to(torch.bfloat16)
    shelf.own[rows] = made
    return made
