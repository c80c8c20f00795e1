"""Prepares training clips as latents on the device, and computes the loss of one training step.

Training uses teacher forcing: the noisy chunks of a clip attend to its clean chunks. Later, some of the clean chunks
are taken from videos that the transformer has generated, with the true scene still the target, so that it learns to
correct its own errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from scope_batch.engine.vae_stream import LATENT_MEAN, LATENT_STD

from .chunks import STEPS, ContextLayout, FrameLayout, Layout, rollout, to_patches
from .gpu import on_device
from .scenes import PERIOD, Painter, change_scenes, draw_scenes
from .transformer import CHUNK, Runner, Steering
from .vae import ClipVae
from .words import prompts_of, token_ids, tokenizer

CHUNKS = 7
FRAMES = 4 * CHUNK * CHUNKS - 3
NOISY = 9
"""Noisy chunks of each clip in a step."""
WORDINGS = 4
"""Number of prompts for each scene."""
MOVED = (0, 0, 0, 0, 3, 9, 30, 60, 120, 240, 480, 900)
"""Latent frames by which a clip's first chunk is moved back in time, to train for long videos."""

_UP_TO_STEP = (0.4, 0.65, 0.85)
"""Cumulative share of each sampler step in the training; the first step is trained most."""
THING_WEIGHT = 6.0
OWN_OF_LATE = 0.8
"""Share of late clips whose earlier chunks the transformer has generated, if it has."""


@dataclass(slots=True)
class Shelf:
    """Training clips of one size, whose scene changes before chunk `switch` (0: never).

    Clips have CHUNKS chunks; openings have only one, and pairs, which begin at any time, have two.
    late     number of chunks left out after the first one: the others are from deep within a long video; their own
             ones are those of `LongVideos`.
    patches  true latents, normalised, bfloat16 [clips, chunks, tokens, 64]; own: those that the transformer generated.
    thing    share of each token's pixels that show the thing, [clips, chunks, tokens].
    control  VACE contexts as patches, [clips, chunks, tokens, 384].
    tokens   of the prompts before and after the change, [clips, 2, WORDINGS, TOKENS].
    """

    height: int
    width: int
    switch: int
    patches: Tensor
    thing: Tensor
    tokens: Tensor
    late: int = 0
    own: Tensor | None = None
    control: Tensor | None = None

    @property
    def grid(self) -> tuple[int, int]:
        return self.height // 16, self.width // 16

    @property
    def openings(self) -> bool:
        return self.patches.shape[1] == 1

    @property
    def pairs(self) -> bool:
        return self.patches.shape[1] == 2


def statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return Wan's latent mean and standard deviation, [1, 16, 1, 1, 1] each."""
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
    late: int = 0,
    *,
    anywhere: bool = False,
    style: Callable[[Tensor], Tensor] = lambda pixels: pixels,
) -> Shelf:
    """Draw scenes and encode them. See `Shelf` for `switch` and `late`, of which one is 0.

    anywhere  clips begin at any time of their scene, not at its start.
    style     changes the pixels [batch, 3, frames, height, width] in -1..1.
    """
    device, generator = painter.device, torch.Generator().manual_seed(seed)
    before = draw_scenes(clips, generator)
    after = change_scenes(before, generator) if switch else before
    mean, deviation = statistics(device)
    patches, things, frames = [], [], 4 * CHUNK * chunks - 3
    batch = max(1, 972 // frames)
    for first in range(0, clips, batch):
        rows = slice(first, first + batch)
        pair = before[rows].to(device), after[rows].to(device)
        begin = torch.randint(PERIOD, (len(pair[0]),), generator=generator).to(device) if anywhere else None
        clips_of_chunks = [painter.clip(*pair, 12 * switch - 3 if switch else 0, frames, height, width, begin)]
        if late:  # begin at the end of a latent frame, one chunk early: the encoder sees less than that back
            times = 4 * CHUNK * late + torch.arange(frames, device=device, dtype=torch.float32)
            start = [drawn[:, :, : 4 * CHUNK - 3] for drawn in clips_of_chunks[0]]
            clips_of_chunks = [
                (start[0], start[1]),
                painter.paint(pair[1], times.expand(len(pair[1]), -1), height, width),
            ]
        parts = []
        for pixels, thing in clips_of_chunks:
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                latents = vae.encode(style(pixels))[0]
            parts.append((to_patches((latents - mean) / deviation).to(torch.bfloat16), thing_of_tokens(thing)))
        kept = parts if not late else [parts[0], (parts[1][0][:, 1:], parts[1][1][:, 1:])]
        patches.append(torch.cat([part for part, _ in kept], 1))
        things.append(torch.cat([part for _, part in kept], 1))
    splitter = tokenizer()
    tokens = [
        torch.stack([token_ids(prompts_of(scenes, seed + i), splitter) for i in range(WORDINGS)], 1)
        for scenes in (before, after)
    ]
    ids = torch.stack(tokens, 1).to(device)
    return Shelf(height, width, switch, torch.cat(patches), torch.cat(things), ids, late)


def thing_of_tokens(thing: Tensor) -> Tensor:
    """Pool [batch, 1, frames, height, width] to the maximum in each token's pixels, [batch, chunks, tokens]."""
    return thing_of_latents(thing).unflatten(1, (-1, CHUNK)).flatten(2).to(torch.bfloat16)


def thing_of_latents(thing: Tensor) -> Tensor:
    """As `thing_of_tokens`, for each latent frame: [batch, latent frames, rows, columns]."""
    cells = F.max_pool2d(thing[:, 0], 16)
    later = cells[:, 1:].unflatten(1, (-1, 4)).amax(2)
    return torch.cat([cells[:, :1], later], 1)


def noisy_chunks(switch: int, *, moved: bool) -> tuple[int, ...]:
    """Return the chunks that a step makes noisy: those with the right context, above all the one after a change.

    moved  the clip, but its first chunk, is from later in the video, so that chunks 1 and 2 lack a part of their past.
    """
    start = max(switch, 3 if moved else 1)
    first = (switch,) * 3 if switch == start else (0,)
    others = [start + i % (CHUNKS - start) for i in range(NOISY - len(first))]
    return (*first, *sorted(others))


OPENING = Layout(0, (0,))
"""Layout of openings: the first chunk alone, which attends only to itself."""


@cache
def layout_of(switch: int, *, moved: bool, recached: bool = True) -> Layout:
    return Layout(CHUNKS, noisy_chunks(switch, moved=moved), switch, late=moved, recached=recached)


def pair_layout(switch: int) -> ContextLayout:
    """Return the layout of pairs: krea-realtime-video makes each chunk with three latent frames of context."""
    return ContextLayout(1, (1,), switch)


def step_loss(
    runner: Runner,
    shelf: Shelf,
    layout: Layout,
    rotary: Tensor,
    count: int,
    own_share: float,
    steer: Callable[[Tensor, list[Tensor]], Steering] | None = None,
) -> Tensor:
    """Return the loss over `count` clips: the squared error of the flow, with more weight on the thing.

    steer  makes the control of the noisy chunks from their VACE contexts and their prompts, from `World.read`.
    """
    device = shelf.patches.device
    rows = torch.randint(len(shelf.patches), (count,), device=device)
    real = shelf.patches[rows].float()
    clean = real[:, : layout.chunks]
    if shelf.own is not None and own_share:
        use = torch.rand(count, 1, 1, 1, device=device) < (OWN_OF_LATE if shelf.late else own_share)
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
    if isinstance(layout, FrameLayout):  # the first two frames are one chunk
        timestep, sigma = (torch.cat([x[:, :1], x[:, :1], x[:, 2:]], 1) for x in (timestep, sigma))
    sigma = sigma[..., None, None]
    noise = torch.randn_like(target)
    noisy = torch.lerp(target, noise, sigma)
    if isinstance(layout, FrameLayout):
        # A quarter as in video mode: the video's latents are not normalised, and the noise is a tenth more than told.
        video = (torch.rand(count, 1, 1, 1, device=device) < 0.25) & (sigma > 0.2) & (sigma < 0.9)
        mean, deviation = (on_device(x, device).repeat_interleave(4) for x in (LATENT_MEAN, LATENT_STD))
        noisy = torch.where(video, torch.lerp(target * deviation + mean, noise, sigma + 0.1), noisy)
    wording = torch.randint(WORDINGS, (count,), device=device)
    tokens = shelf.tokens[rows, :, wording]
    read = runner.world.read(tokens.flatten(0, 1)).unflatten(0, (count, 2))
    steering = None
    if steer is not None and shelf.control is not None:
        steering = steer(shelf.control[rows][:, chunks].float(), list(read.unbind(1)))
    flow = runner(
        torch.cat([clean, noisy], 1),
        torch.cat([timestep.new_zeros(count, layout.chunks), timestep], 1),
        [(_of_groups(k, layout), _of_groups(v, layout)) for k, v in runner.prompt_keys(read)],
        rotary,
        layout.attend,
        head_from=layout.chunks,
        steering=steering,
    )
    weight = 1 + THING_WEIGHT * shelf.thing[rows][:, chunks].float().unsqueeze(-1)
    return ((flow - (noisy - target) / sigma).square() * weight).mean() / weight.mean()


def _of_groups(both: Tensor, layout: Layout) -> Tensor:
    """Select each group's prompt: [batch, 2, rows, width] (before, after) to [batch, groups, rows, width]."""
    prompts = both.unbind(1)
    return torch.stack([prompts[layout.prompt(group)] for group in range(len(layout.groups))], 1)


@torch.no_grad()
def make_own(runner: Runner, shelf: Shelf, count: int) -> Tensor:
    """Generate `count` clips of a shelf with the transformer, from noise and prompts alone."""
    assert shelf.own is not None and not shelf.late
    device = shelf.patches.device
    rows, wording = (
        torch.randint(len(shelf.patches), (count,), device=device),
        torch.randint(WORDINGS, (count,), device=device),
    )
    before, after = runner.world.read(shelf.tokens[rows, :, wording].flatten(0, 1)).unflatten(0, (count, 2)).unbind(1)

    def noise(_: int, __: int) -> Tensor:
        return torch.randn(count, 1, *shelf.patches.shape[2:], device=device)

    made = rollout(runner, (before, after), range(CHUNKS), *shelf.grid, shelf.switch, noise).to(torch.bfloat16)
    shelf.own[rows] = made
    return made
