"""Carries videos on during training, with the context of krea-realtime-video.

Of each chunk, the trained transformer gets the context that it has generated, and the true chunk at the moment at which
the video is.
"""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from scope_batch.core.geometry import RECENT_FRAMES

from .chunks import next_chunk, rollout, to_latents, to_patches
from .learning import WORDINGS, Shelf, statistics, thing_of_tokens
from .long_videos import OFF
from .scenes import Painter, Scenes, draw_scenes
from .transformer import CHUNK, Runner
from .vae import ClipVae
from .words import TOKENS, prompts_of, token_ids, tokenizer

MORE = 4
"""Chunks that a call adds."""
NEW, CHANGED = 1 / 60, 1 / 30
"""Share of videos that begin again, and of those whose prompt changes, before each chunk."""
_CHUNK_FRAMES = 4 * CHUNK
_BATCH = 32
_PREFERENCE = 1e-6
"""Error per latent frame by which a video is found to be ahead or behind: where nothing moves, it is in time."""


class ContextVideos:
    """Videos of one size, and the shelf that trains with them.

    shelf  pairs of an own context and the true chunk after it, of the last `MORE` chunks of all videos.
    """

    def __init__(
        self, runner: Runner, vae: ClipVae, painter: Painter, height: int, width: int, videos: int, seed: int
    ) -> None:
        device, tokens = painter.device, CHUNK * height * width // 256
        self.runner, self.vae, self.painter = runner, vae, painter
        self._generator, self._splitter = torch.Generator().manual_seed(seed), tokenizer()
        self.shelf = Shelf(
            height,
            width,
            0,
            torch.zeros(MORE * videos, 2, tokens, 64, dtype=torch.bfloat16, device=device),
            torch.zeros(MORE * videos, 2, tokens, dtype=torch.bfloat16, device=device),
            torch.zeros(MORE * videos, 2, WORDINGS, TOKENS, dtype=torch.int64, device=device),
        )
        self.scenes = draw_scenes(videos, self._generator).to(device)
        self.time = torch.zeros(videos, device=device)  # of the scenes, at the next frame
        self._tokens = torch.zeros(videos, WORDINGS, TOKENS, dtype=torch.int64, device=device)
        self.context = torch.zeros(videos, 1, tokens, 64, device=device)
        self._begin(torch.ones(videos, dtype=torch.bool))

    @torch.no_grad()
    def carry_on(self) -> None:
        """Add chunks to every video, and renew the shelf."""
        videos = len(self.time)
        for part in range(MORE):
            chance = torch.rand(videos, generator=self._generator)
            self._begin(chance < NEW)
            self._change((chance >= NEW) & (chance < NEW + CHANGED))
            places = slice(part * videos, (part + 1) * videos)
            self.shelf.tokens[places] = self._tokens[:, None]
            self.shelf.patches[places, 0] = self.context[:, 0].to(torch.bfloat16)
            made = next_chunk(self.runner, self._prompts(), self.context, *self.shelf.grid, lambda _: self._noise())
            for first in range(0, videos, _BATCH):
                rows = slice(first, min(videos, first + _BATCH))
                true, thing = self._true_chunks(rows)
                own = slice(places.start + rows.start, places.start + rows.stop)
                self.shelf.patches[own, 1], self.shelf.thing[own, 1] = true.to(torch.bfloat16), thing
                self._follow(rows, made[rows])

    def _begin(self, new: Tensor) -> None:
        """Begin these videos again, with other scenes. new: bool [videos], on the CPU."""
        if not new.any():
            return
        self._set_scenes(new, draw_scenes(len(new), self._generator))
        opening = rollout(self.runner, (self._prompts(),) * 2, range(1), *self.shelf.grid, 0, lambda *_: self._noise())
        new = new.to(self.time.device)
        self.context[new], self.time[new] = opening[new], float(RECENT_FRAMES)

    def _change(self, changed: Tensor) -> None:
        """Change the prompt of these videos. Their things begin at time 1, unless they continue; see `Painter.clip`."""
        after = draw_scenes(len(changed), self._generator)
        begins = changed.to(self.time.device) & ~self.scenes.continues_as(after.to(self.time.device))
        self._set_scenes(changed, after)
        self.time[begins] = 1.0

    def _set_scenes(self, rows: Tensor, scenes: Scenes) -> None:
        seed = int(torch.randint(1 << 30, (), generator=self._generator))
        wordings = [token_ids(prompts_of(scenes, seed + i), self._splitter) for i in range(WORDINGS)]
        rows = rows.to(self.time.device)
        self._tokens[rows] = torch.stack(wordings, 1).to(rows.device)[rows]
        here = scenes.to(rows.device)
        self.scenes = Scenes(
            *(torch.where(rows, getattr(here, f.name), getattr(self.scenes, f.name)) for f in fields(Scenes))
        )

    def _prompts(self) -> Tensor:
        device = self.time.device
        rows, wording = (
            torch.arange(len(self.time), device=device),
            torch.randint(WORDINGS, (len(self.time),), device=device),
        )
        return self.runner.world.read(self._tokens[rows, wording])

    def _noise(self) -> Tensor:
        return torch.randn(self.context.shape, device=self.context.device)

    def _true_chunks(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Return the true chunks after the contexts as patches, and the thing in their tokens."""
        moments = self.time[rows, None] + torch.arange(-RECENT_FRAMES, _CHUNK_FRAMES, device=self.time.device)
        pixels, thing = self.painter.paint(self.scenes[rows], moments, self.shelf.height, self.shelf.width)
        return to_patches(self._encoded(pixels))[:, 1], thing_of_tokens(thing)[:, 1]

    def _follow(self, rows: slice, made: Tensor) -> None:
        """Advance the time of videos by a chunk [batch, 1, tokens, 64], and take their contexts from it.

        The context's first frame is encoded as a separate picture, as in the engine.
        """
        size, (mean, deviation) = (self.shelf.height, self.shelf.width), statistics(made.device)
        latents = to_latents(torch.cat([self.context[rows], made], 1), size[0] // 8, size[1] // 8)
        video = self.vae.decode(latents * deviation + mean).clamp(-1, 1)[:, :, RECENT_FRAMES:].float()
        moments = self.time[rows, None] + torch.arange(-4 * OFF, _CHUNK_FRAMES + 4 * OFF, device=made.device)
        drawn, _ = self.painter.paint(self.scenes[rows], moments, *size)
        errors = torch.stack(
            [
                (drawn[:, :, 4 * k : 4 * k + _CHUNK_FRAMES] - video).square().mean((1, 2, 3, 4))
                + _PREFERENCE * abs(k - OFF)
                for k in range(2 * OFF + 1)
            ]
        )
        self.time[rows] += _CHUNK_FRAMES + 4.0 * (errors.argmin(0) - OFF)
        anchor = self._encoded(video[:, :, -RECENT_FRAMES : 1 - RECENT_FRAMES])
        self.context[rows] = to_patches(torch.cat([anchor, latents[:, :, 1 - CHUNK :]], 2))

    def _encoded(self, pixels: Tensor) -> Tensor:
        """Return normalised latents, float32 [batch, 16, latent frames, h, w]."""
        mean, deviation = statistics(pixels.device)
        return (self.vae.encode(pixels)[0].float() - mean) / deviation
