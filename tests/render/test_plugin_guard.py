"""Engines of plugins that keep no contract: one line that names them, wherever it shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest

from scope_batch.core.frames import ChunkInputs, Frames
from scope_batch.core.plan import Chunk, Plan
from scope_batch.core.registry import Registry
from scope_batch.errors import UnavailableError
from scope_batch.events import Report, silent
from scope_batch.render.plugin_guard import held_peak_bytes, held_session
from tests.plan.helpers import plan

PLAN = plan(height=64, width=96, num_frames=9)
NAME = "the pipeline 'x' of a-package 1.0"


@dataclass
class Odd:
    """Raises in the method `bad`, and makes `made` of what it should make."""

    bad: str = ""
    made: object = None

    @contextmanager
    def session(self, plan: Plan, report: Report) -> Iterator[Odd]:  # noqa: ARG002
        self._reach("session")
        try:
            yield self
        finally:
            self._reach("close")

    def generate(self, chunk: Chunk, inputs: ChunkInputs) -> Odd:  # noqa: ARG002
        self._reach("generate")
        return self

    def frames(self) -> Frames:
        self._reach("frames")
        return np.zeros((9, 64, 96, 3), np.uint8) if self.made is None else self.made  # type: ignore[return-value]

    def latents(self) -> None:
        self._reach("latents")

    def peak_device_bytes(self) -> int:
        self._reach("peak")
        return 0

    def _reach(self, where: str) -> None:
        if where == self.bad:
            raise LookupError(f"no {where}")


def use(engine: Odd) -> None:
    with held_session(engine, PLAN, silent) as session:
        made = session.generate(PLAN.chunks[0])
        assert made.frames().shape == (9, 64, 96, 3) and made.latents() is None
    assert held_peak_bytes(engine, PLAN) == 0


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "where", lambda *_: NAME)


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize("bad", ["session", "generate", "frames", "latents", "close", "peak"])
def test_whatever_raises_is_one_line(bad: str) -> None:
    use(Odd())
    with pytest.raises(UnavailableError, match=f"^{NAME}: LookupError: no {bad}$"):
        use(Odd(bad))


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize(
    ("made", "found"),
    [
        (np.zeros((8, 64, 96, 3), np.uint8), r"uint8 \(8, 64, 96, 3\)"),
        (np.zeros((9, 64, 96, 3), np.float32), r"float32 \(9, 64, 96, 3\)"),
        ([], "list"),
    ],
)
def test_frames_of_another_kind_never_reach_an_output(made: object, found: str) -> None:
    with pytest.raises(UnavailableError, match=rf"^{NAME}: chunk 0: made {found}, uint8 \(9, 64, 96, 3\) is wanted$"):
        use(Odd(made=made))


@pytest.mark.usefixtures("foreign")
def test_what_the_caller_raises_is_not_blamed_on_it() -> None:
    with pytest.raises(ValueError, match=r"^mine$"), held_session(Odd(), PLAN, silent):
        raise ValueError("mine")


def test_of_what_is_built_in_errors_stay_as_they_are() -> None:
    with pytest.raises(LookupError, match="no generate"):
        use(Odd("generate"))
