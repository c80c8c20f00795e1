from __future__ import annotations

import pytest

from scope_batch.doctor import rendering
from scope_batch.errors import UnavailableError


def test_the_tiny_set_renders() -> None:
    (finding,) = rendering.check()
    assert (finding.state, finding.values["frames"]) == ("ok", 21)


def test_an_error_of_the_render_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise UnavailableError("loading: out of device memory")

    monkeypatch.setattr(rendering, "render_job", fail)
    (finding,) = rendering.check()
    assert finding.state == "fault" and "out of device memory" in finding.text
