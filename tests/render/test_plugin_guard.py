"""Engines of plugins that break the contract: one line that names the plugin."""

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
from scope_batch.render.plugin_guard import guarded_peak_bytes, guarded_session
from tests.plan.helpers import plan

PLAN = plan(height=64, width=96, num_frames=9)
NAME = "the pipeline 'x' of a-package 1.0"


@dataclass
class Odd:
    """Raises in the method `bad`, and returns `returned` as frames."""

    bad: str = ""
    returned: object = None

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
        return np.zeros((9, 64, 96, 3), np.uint8) if self.returned is None else self.returned  # type: ignore[return-value]

    def latents(self) -> None:
        self._reach("latents")

    def peak_device_bytes(self) -> int:
        self._reach("peak")
        return 0

    def _reach(self, where: str) -> None:
        if where == self.bad:
            raise LookupError(f"no {where}")


def use(engine: Odd) -> None:
    with guarded_session(engine, PLAN, silent) as session:
        generated = session.generate(PLAN.chunks[0])
        assert generated.frames().shape == (9, 64, 96, 3) and generated.latents() is None
    assert guarded_peak_bytes(engine, PLAN) == 0


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "where", lambda *_: NAME)


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize("bad", ["session", "generate", "frames", "latents", "close", "peak"])
def test_every_error_of_a_plugin_is_one_line(bad: str) -> None:
    use(Odd())
    with pytest.raises(UnavailableError, match=f"^{NAME}: LookupError: no {bad}$"):
        use(Odd(bad))


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize(
    ("returned", "actual"),
    [
        (np.zeros((8, 64, 96, 3), np.uint8), r"uint8 \(8, 64, 96, 3\)"),
        (np.zeros((9, 64, 96, 3), np.float32), r"float32 \(9, 64, 96, 3\)"),
        ([], "list"),
    ],
)
def test_frames_of_a_wrong_dtype_or_shape_never_reach_an_output(returned: object, actual: str) -> None:
    with pytest.raises(
        UnavailableError, match=rf"^{NAME}: chunk 0: returned {actual}, expected uint8 \(9, 64, 96, 3\)$"
    ):
        use(Odd(returned=returned))


@pytest.mark.usefixtures("foreign")
def test_an_error_of_the_caller_does_not_name_the_plugin() -> None:
    with pytest.raises(ValueError, match=r"^mine$"), guarded_session(Odd(), PLAN, silent):
        raise ValueError("mine")


def test_errors_of_built_in_engines_are_unchanged() -> None:
    with pytest.raises(LookupError, match="no generate"):
        use(Odd("generate"))
