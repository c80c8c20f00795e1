"""Carries long videos of the transformer on during training, six chunks a call.

The true scene of a video that is ahead or behind is drawn at the video's own moment, so that the transformer is never
trained towards a place that the past does not tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .chunks import Cache, rollout, to_latents, to_patches
from .learning import CHUNKS, WORDINGS, Shelf, statistics, thing_of_latents
from .scenes import Painter, Scenes
from .transformer import CHUNK, Runner
from .vae import ClipVae

MORE = CHUNKS - 1
"""Chunks that a call adds."""
OLDEST = 84
"""Videos of more chunks begin again."""
OFF = 4
"""Latent frames by which a video may be ahead or behind after a call; more are found in several calls."""
_BEFORE = 4 * CHUNK - 3
"""Frames drawn before those that are kept: the encoder sees less than that back."""


@dataclass(slots=True)
class LongVideos:
    """The long videos of a shelf of late clips, whose chunks but the first are the last ones of its video.

    single   generate single latent frames, as streamdiffusionv2 does; see `rollout`.
    scenes   of the videos, on the device.
    age      number of chunks made.
    time     of the scenes at the next frame, [clips].
    wording  of the prompts, [clips].
    """

    runner: Runner
    vae: ClipVae
    painter: Painter
    shelf: Shelf
    scenes: Scenes
    single: bool = False
    age: int = 0
    time: Tensor = field(init=False)
    wording: Tensor = field(init=False)
    cache: Cache = field(default_factory=dict)

    @torch.no_grad()
    def carry_on(self) -> None:
        """Add chunks to every video, and renew the clips of the shelf, true ones and own ones."""
        shelf, clips = self.shelf, len(self.shelf.patches)
        device = shelf.patches.device
        if shelf.own is None:
            shelf.own = shelf.patches.clone()
        if not self.age or self.age > OLDEST:
            self.age = 0
            self.cache.clear()
            self.time = torch.full((clips,), 12.0 * (1 + MORE) - 3, device=device)
            self.wording = torch.randint(WORDINGS, (clips,), device=device)
        prompts = self.runner.world.read(shelf.tokens[torch.arange(clips, device=device), 1, self.wording])
        chunks = range(self.age, self.age + MORE) if self.age else range(1 + 2 * MORE)
        tokens, width = shelf.patches.shape[2:]
        each = CHUNK if self.single else 1
        groups = range(each * chunks.start, each * chunks.stop)

        def noise(_: int, __: int) -> Tensor:
            return torch.randn(clips, 1, tokens // each, width, device=device)

        made = rollout(
            self.runner, (prompts, prompts), groups, *shelf.grid, 0, noise, self.cache, single=self.single
        ).view(clips, -1, tokens, width)
        if not self.age:
            shelf.own[:, 0] = made[:, 0].to(torch.bfloat16)
        shelf.own[:, 1:] = made[:, -MORE:].to(torch.bfloat16)
        self.age = chunks.stop
        shelf.late = self.age - CHUNKS
        for first in range(0, clips, 8):
            self._draw(slice(first, min(clips, first + 8)))

    def _draw(self, rows: slice) -> None:
        """Draw the true clips at the moments at which the own ones are, and advance `time` by them."""
        shelf, frames = self.shelf, 12 * MORE
        assert shelf.own is not None
        device, (mean, deviation) = shelf.patches.device, statistics(shelf.patches.device)
        begin = self.time[rows] - _BEFORE - 4 * OFF
        moments = begin[:, None] + torch.arange(_BEFORE + frames + 8 * OFF, device=device)
        pixels, thing = self.painter.paint(self.scenes[rows], moments, shelf.height, shelf.width)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            latents = self.vae.encode(pixels)[0]
        latents, cells = ((latents - mean) / deviation)[:, :, CHUNK:], thing_of_latents(thing)[:, CHUNK:]
        own = to_latents(shelf.own[rows, 1:].float(), shelf.height // 8, shelf.width // 8)
        windows = latents.unfold(2, CHUNK * MORE, 1)  # [clips, 16, moments, rows, columns, latent frames]
        errors = (windows - own.permute(0, 1, 3, 4, 2)[:, :, None]).square().mean((1, 3, 4, 5))
        ahead = errors.argmin(1)
        one = torch.arange(len(ahead), device=device)
        patches = to_patches(windows[one, :, ahead].permute(0, 1, 4, 2, 3))
        shelf.patches[rows, 1:] = patches.to(torch.bfloat16)
        things = cells.unfold(1, CHUNK * MORE, 1)[one, ahead].permute(0, 3, 1, 2)
        shelf.thing[rows, 1:] = things.unflatten(1, (-1, CHUNK)).flatten(2).to(torch.bfloat16)
        self.time[rows] += frames + 4.0 * (ahead - OFF)
