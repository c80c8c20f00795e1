"""The self-attention memory of a causal transformer: a sink that stays and a ring that rolls, in latent frames.

The first `sink` latent frames of a sequence keep their slots for ever. Later ones share the remaining slots: frame f
lies in slot `sink + (f - sink) % (window - sink)`, so that a new frame overwrites the oldest and nothing is moved. The
keys to attend to are always the first slots that are filled, one contiguous slice: their order does not matter to
softmax, and keys carry their own rotary position.

Which slots a pass writes and reads is plain arithmetic on Python integers (`Pass`), known before the pass starts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Span = tuple[int, int, int]
"""`length` latent frames from `source` in the pass to `slot` in the cache: (source, slot, length)."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass over latent frames `start` .. `start + frames - 1`.

    writes  which of its frames are stored, and where.
    attend  number of slots attended to, from slot 0.
    """

    start: int
    frames: int
    writes: tuple[Span, ...]
    attend: int


@dataclass(frozen=True, slots=True)
class RollingWindow:
    """`window` latent frames in all, the first `sink` of a sequence among them for good."""

    window: int
    sink: int

    def slot(self, frame: int) -> int:
        if frame < self.window:
            return frame
        return self.sink + (frame - self.sink) % (self.window - self.sink)

    def _spans(self, first: int, start: int, end: int) -> tuple[Span, ...]:
        """Store frames first .. end - 1 of a pass that begins at `start`, as few contiguous spans as possible."""
        spans: list[Span] = []
        for frame in range(first, end):
            source, slot = frame - start, self.slot(frame)
            if spans and spans[-1][1] + spans[-1][2] == slot:
                spans[-1] = (spans[-1][0], spans[-1][1], spans[-1][2] + 1)
            else:
                spans.append((source, slot, 1))
        return tuple(spans)

    def chunk(self, start: int, frames: int) -> Pass:
        """A pass over a chunk: all its frames are stored (again and again, in every denoising step)."""
        if frames > self.window - (self.sink if start else 0):
            raise ValueError(f"a chunk of {frames} latent frames does not fit a window of {self.window}")
        end = start + frames
        return Pass(start, frames, self._spans(start, start, end), min(end, self.window))

    def recache(self, end: int) -> Pass:
        """A pass over the latest frames before `end` that renews their keys under a new prompt.

        Up to `window` frames: everything is rewritten, the sink too. Beyond: the sink keeps its keys, the ring is
        rewritten, and the first frames of the pass only ask.
        """
        frames = min(end, self.window)
        start = end - frames
        first = 0 if start == 0 else end - (self.window - self.sink)
        return Pass(start, frames, self._spans(first, start, end), frames)


class KVCache:
    """Keys and values of every layer, allocated once: [1, window * tokens, heads, head_dim] each.

    `current` is the pass in flight; layers store and read through it.
    """

    def __init__(
        self,
        *,
        layers: int,
        window: int,
        tokens: int,
        heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (1, window * tokens, heads, head_dim)
        self.tokens = tokens
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.current: Pass | None = None

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store this pass's keys and values [1, frames * tokens, heads, head_dim]; return all that is attended to."""
        assert self.current is not None, "a pass must be set before attention runs"
        keys, values = self.keys[layer], self.values[layer]
        for source, slot, length in self.current.writes:
            new = slice(source * self.tokens, (source + length) * self.tokens)
            old = slice(slot * self.tokens, (slot + length) * self.tokens)
            keys[:, old].copy_(key[:, new])
            values[:, old].copy_(value[:, new])
        end = self.current.attend * self.tokens
        return keys[:, :end], values[:, :end]


class TextCache:
    """Keys and values of the prompt for every layer, computed once per prompt: [1, 512, heads, head_dim] each."""

    def __init__(self, layers: int) -> None:
        self._entries: list[tuple[Tensor, Tensor] | None] = [None] * layers
        self._beside: list[TextCache] = []

    def beside(self, layers: int) -> TextCache:
        """A cache for other layers that read the same prompt: cleared with this one, filled by itself."""
        self._beside.append(TextCache(layers))
        return self._beside[-1]

    def clear(self) -> None:
        self._entries = [None] * len(self._entries)
        for other in self._beside:
            other.clear()

    @property
    def filled(self) -> bool:
        return all(entry is not None for entry in self._entries)

    def get(self, layer: int) -> tuple[Tensor, Tensor] | None:
        return self._entries[layer]

    def put(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        self._entries[layer] = (key, value)
        return key, value
