from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from scope_batch.engine.pass_graphs import PassGraphs


class Host:
    """Stands for a GPU: a captured pass is recorded, runs at every replay, and counts."""

    def __init__(self) -> None:
        self.passes: list[str] = []
        self.graphs = PassGraphs(self.capture)
        self._out = torch.zeros(1)

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        run()
        self.passes[-1] = "captured"

        def replay() -> None:
            run()
            self.passes[-1] = "replayed"

        return replay

    def run(self, key: str, value: float) -> float:
        def double(latents: Tensor) -> Tensor:
            self.passes.append("run")
            return self._out.copy_(2 * latents)

        flow = self.graphs.run(key, torch.tensor([value]), double)
        assert flow is not None
        return float(flow)


def test_a_pass_is_captured_when_it_comes_again() -> None:
    host = Host()
    assert [host.run("a", value) for value in (1, 2, 3)] == [2, 4, 6]
    assert host.passes == ["run", "captured", "replayed", "replayed"]


def test_passes_of_different_keys_are_captured_separately() -> None:
    host = Host()
    for key in ("a", "b", "a"):
        host.run(key, 1)
    assert host.passes == ["run", "run", "captured", "replayed"]


def test_nothing_is_replayed_after_forgetting() -> None:
    host = Host()
    for _ in range(2):
        host.run("a", 1)
    host.graphs.forget()
    host.passes.clear()
    assert host.run("a", 5) == 10 and host.passes == ["run"]
