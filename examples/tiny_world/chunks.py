"""Splits videos into chunks for training, and generates them chunk by chunk as the engine does.

Chunk c attends to itself, the two chunks before it, and the first chunk. Their keys and values come from a pass over
the clean latents at timestep 0: this is the engine's window of twelve latent frames with a sink of three. Training runs
all chunks at once, clean and noisy ones; `rollout` generates one after the other, like the engine's sampler.
streamdiffusionv2 has chunks of a single latent frame, and a window of six.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from scope_batch.engine.sampler import SigmaTable
from scope_batch.pipelines import PipelineSpec
from scope_batch.pipelines.builtin import KREA, LONGLIVE, STREAMDIFFUSIONV2

from .gpu import select
from .transformer import CHUNK, Runner, rotary_at, rotary_of


def _steps(spec: PipelineSpec) -> tuple[tuple[float, float], ...]:
    sigma = SigmaTable(spec.shift)
    return tuple((float(timestep), sigma(timestep)) for timestep in spec.steps_text)


STEPS, STEPS_OF_FRAMES = _steps(LONGLIVE), _steps(STREAMDIFFUSIONV2)
"""Timestep and sigma of each step of the sampler, for chunks and for single latent frames."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The groups of one training pass: all chunks clean, then some of them noisy.

    noisy   the chunk of each noisy group.
    switch  the prompt changes before this chunk; 0 = never.
    late    the first chunk is outside the window, so that it is not recached.
    recached  at the switch, earlier chunks are recached under the new prompt in one pass, in which they attend to each
              other; else they keep what they had under the old prompt.
    """

    chunks: int
    noisy: tuple[int, ...]
    switch: int = 0
    late: bool = False
    recached: bool = True

    @property
    def groups(self) -> tuple[int, ...]:
        return (*range(self.chunks), *self.noisy)

    def attended(self, group: int) -> tuple[int, ...]:
        """Return the clean chunks that a group attends to besides itself."""
        chunk = self.groups[group]
        if self.recached and group < self.switch and not (self.late and not group):
            return tuple(other for other in range(self.switch) if other != chunk)
        return past(chunk)

    def prompt(self, group: int) -> int:
        """Return 0 if the group uses the prompt before the switch, 1 if it uses the one after it."""
        if not self.recached:
            return int(self.groups[group] >= self.switch)
        first = not self.groups[group]
        return int(not (self.switch and first and (self.late or group >= self.chunks)))

    def attend(self, _: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Compute attention; see `Attend`. Groups that attend to equally many chunks are computed together."""
        order, places, sizes = _attention_order(self)
        query = select(queries, order).split([count for _, count in sizes], 1)
        key, value = (select(x, places).split([size * count for size, count in sizes], 1) for x in (keys, values))
        made = [
            F.scaled_dot_product_attention(
                q, k.unflatten(1, (count, size)).flatten(2, 3), v.unflatten(1, (count, size)).flatten(2, 3)
            )
            for q, k, v, (size, count) in zip(query, key, value, sizes, strict=True)
        ]
        return select(torch.cat(made, 1), tuple(order.index(group) for group in range(len(order))))


@dataclass(frozen=True, slots=True)
class FrameLayout(Layout):
    """As `Layout`, but every group is one latent frame, as in streamdiffusionv2: `chunks` counts latent frames.

    The first two frames attend to each other, later ones to the first three and the two before. Noisy groups begin with
    frames 0 and 1. Nothing is recached.
    """

    def attended(self, group: int) -> tuple[int, ...]:
        frame = self.groups[group]
        if frame > 1:
            return past(frame, STREAMDIFFUSIONV2.sink)
        return (1 - frame if group < self.chunks else self.chunks + 1 - frame,)


@dataclass(frozen=True, slots=True)
class ContextLayout(Layout):
    """As `Layout`, with two groups: three latent frames of context, and the noisy chunk after them.

    So krea-realtime-video makes every chunk but the first. Keys of the context's second and third frame have the
    weight of the pipeline's attention bias.
    """

    def attend(self, _: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        assert self.groups == (0, 1) and KREA.attention_bias is not None
        context = F.scaled_dot_product_attention(queries[:, :1], keys[:, :1], values[:, :1])
        key, value = (x.flatten(1, 2)[:, None] for x in (keys, values))
        weight = key.new_zeros(key.shape[2])
        weight[queries.shape[2] // CHUNK : queries.shape[2]] = math.log(KREA.attention_bias)
        mask = weight.expand(queries.shape[2], -1)
        return torch.cat([context, F.scaled_dot_product_attention(queries[:, 1:], key, value, mask)], 1)


@cache
def _attention_order(layout: Layout) -> tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Return the groups by the size of what they attend to, all that, and (size, number of groups) of each size."""
    sets = [(*layout.attended(group), group) for group in range(len(layout.groups))]
    order = tuple(sorted(range(len(sets)), key=lambda group: len(sets[group])))
    sizes = Counter(len(sets[group]) for group in order)
    return order, tuple(i for group in order for i in sets[group]), tuple(sizes.items())


def past(chunk: int, sink: int = 1) -> tuple[int, ...]:
    """Return the earlier chunks that a new chunk attends to: the first `sink` ones, and the two before it."""
    return tuple(sorted({*range(sink), chunk - 2, chunk - 1} & set(range(chunk))))


def to_patches(latents: Tensor) -> Tensor:
    """Rearrange [batch, 16, frames, h, w] to [batch, chunks, tokens, 64]; a token is ordered channel, row, column."""
    batch, channels, frames, height, width = latents.shape
    cells = latents.reshape(batch, channels, frames // CHUNK, CHUNK, height // 2, 2, width // 2, 2)
    return cells.permute(0, 2, 3, 4, 6, 1, 5, 7).reshape(
        batch, frames // CHUNK, CHUNK * height * width // 4, channels * 4
    )


def to_latents(patches: Tensor, height: int, width: int) -> Tensor:
    """Invert `to_patches`; height and width in latent cells."""
    batch, chunks = patches.shape[:2]
    cells = patches.reshape(batch, chunks, CHUNK, height // 2, width // 2, 16, 2, 2)
    return cells.permute(0, 5, 1, 2, 3, 6, 4, 7).reshape(batch, 16, chunks * CHUNK, height, width)


Noise = Callable[[int, int], Tensor]
"""Returns the noise of (chunk, step), [batch, 1, tokens, 64]."""


Cache = dict[tuple[int, int], tuple[Tensor, Tensor]]
"""Keys and values of (layer, chunk), [batch, tokens, HEAD_DIM] each."""


@torch.no_grad()
def rollout(
    runner: Runner,
    prompts: tuple[Tensor, Tensor],
    chunks: range,
    rows: int,
    columns: int,
    switch: int,
    noise: Noise,
    cache: Cache | None = None,
    *,
    single: bool = False,
) -> Tensor:
    """Generate videos as the engine does; returns float32 patches [batch, chunks, tokens, 64].

    prompts  from `World.read`: those before chunk `switch` (unused if it is 0), and those from there on.
    chunks   those to generate: from 0 on; or, with the cache that an earlier call has filled, from its end on.
    single   a chunk is one latent frame, as in streamdiffusionv2. The first two are generated together, and a change of
             prompt recaches nothing.
    """
    device, batch = prompts[0].device, len(prompts[0])
    both = [runner.prompt_keys(each) for each in prompts]
    kept = {} if cache is None else cache
    sink, steps, turns = (STREAMDIFFUSIONV2.sink, STEPS_OF_FRAMES, rotary_at) if single else (1, STEPS, rotary_of)
    passes: list[tuple[int, ...]] = [(chunk,) for chunk in chunks]
    if single and not chunks.start:
        passes[:2] = [(0, 1)]

    def run(
        x: Tensor, timestep: float, groups: tuple[int, ...], others: tuple[int, ...], which: int, *, keep: bool
    ) -> Tensor:
        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            if keep:
                kept.update({(layer, chunk): (key[:, i], value[:, i]) for i, chunk in enumerate(groups)})
            seen = [(key.flatten(1, 2), value.flatten(1, 2)), *(kept[layer, chunk] for chunk in others)]
            k, v = (torch.cat(parts, 1)[:, None] for parts in zip(*seen, strict=True))
            return F.scaled_dot_product_attention(query.flatten(1, 2)[:, None], k, v)[:, 0].unflatten(
                1, query.shape[1:3]
            )

        prompt = [
            (k[:, None].expand(-1, len(groups), -1, -1), v[:, None].expand(-1, len(groups), -1, -1))
            for k, v in both[which]
        ]
        return runner(
            x, x.new_full((batch, len(groups)), timestep), prompt, turns(groups, rows, columns, device), attend
        )

    made: list[Tensor] = []
    for groups in passes:
        chunk, others = groups[0], past(groups[0], sink)
        if switch and chunk == switch and not single:  # recache the window under the new prompt, in one pass
            renewed, before = (range(chunk), ()) if chunk <= 4 else (range(chunk - 3, chunk), (0,))
            run(torch.cat([made[i] for i in renewed], 1), 0.0, tuple(renewed), before, 1, keep=True)
        which = int(not switch or chunk >= switch)
        x = torch.cat([noise(group, 0) for group in groups], 1)
        for step, (timestep, sigma) in enumerate(steps):
            if step:
                x = (1 - sigma) * x + sigma * torch.cat([noise(group, step) for group in groups], 1)
            x = x - sigma * run(x, timestep, groups, others, which, keep=False)
        run(x, 0.0, groups, others, which, keep=True)
        made.append(x)
        if chunk - 2 >= sink:  # no later chunk attends to it
            for layer in range(len(both[which])):
                del kept[layer, chunk - 2]
    return torch.cat(made, 1)


@torch.no_grad()
def next_chunk(
    runner: Runner, prompt: Tensor, context: Tensor, rows: int, columns: int, noise: Callable[[int], Tensor]
) -> Tensor:
    """Generate the chunk after three latent frames of context, as krea-realtime-video does.

    prompt   from `World.read`.
    context  patches [batch, 1, tokens, 64], like the result.
    noise    returns the noise of a step.
    """
    layout = ContextLayout(1, (1,))
    prompts = [
        (k[:, None].expand(-1, 2, -1, -1), v[:, None].expand(-1, 2, -1, -1)) for k, v in runner.prompt_keys(prompt)
    ]
    rotary = rotary_of(layout.groups, rows, columns, context.device)
    x = noise(0)
    for step, (timestep, sigma) in enumerate(STEPS):
        if step:
            x = (1 - sigma) * x + sigma * noise(step)
        times = x.new_tensor([0.0, timestep]).expand(len(x), -1)
        x = x - sigma * runner(torch.cat([context, x], 1), times, prompts, rotary, layout.attend, head_from=1)
    return x
