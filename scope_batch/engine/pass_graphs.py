"""Replays the transformer's forward passes as CUDA graphs, which cost the host one launch instead of hundreds.

A graph holds addresses and the values of Python numbers. So the passes of a render may be replayed because their
tensors stay where they are: caches, rotary tables and prompt are rewritten in place, and the latents are copied to a
buffer. `forget` drops the graphs when LoRA scales change, which are Python numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

Replay = Callable[[], None]
Run = Callable[[Tensor], Tensor | None]
"""Runs a pass over latents [1, F, 16, h, w], and returns the flow like them, or None."""


class PassGraphs:
    """The captured passes of one session.

    A pass is captured when it comes for the second time: the first time has compiled its kernels, and a short render
    does not pay for graphs.
    """

    def __init__(self, capture: Callable[[Callable[[], None]], Replay] | None = None) -> None:
        """capture: runs a function once as a CUDA graph, and returns what replays it; None: the real one."""
        self._capture = capture or _Capture()
        self._graphs: dict[Hashable, tuple[Replay, Tensor, Tensor | None]] = {}
        self._seen: set[Hashable] = set()

    def forget(self) -> None:
        """Drop all graphs, because values that they hold have changed."""
        self._graphs.clear()
        self._seen.clear()

    def run(self, key: Hashable, latents: Tensor, run: Run) -> Tensor | None:
        """Run a pass. Passes of the same key differ in nothing but the contents of tensors.

        The next call may overwrite the flow that is returned.
        """
        if key not in self._graphs:
            if key not in self._seen:
                self._seen.add(key)
                return run(latents)
            self._graphs[key] = self._captured(latents, run)
        replay, given, flow = self._graphs[key]
        given.copy_(latents)
        replay()
        return flow

    def _captured(self, latents: Tensor, run: Run) -> tuple[Replay, Tensor, Tensor | None]:
        given, flow = torch.empty_like(latents), None

        def once() -> None:
            nonlocal flow
            flow = run(given)

        return self._capture(once), given, flow


class _Capture:
    """Captures graphs that share one pool of memory, as they never run at the same time."""

    def __init__(self) -> None:
        self._pool: Any = torch.cuda.graph_pool_handle()

    def __call__(self, run: Callable[[], None]) -> Replay:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            run()
        return graph.replay
