from __future__ import annotations

import pytest

from scope_batch.doctor import rendering
from scope_batch.errors import UnavailableError


def test_the_tiny_set_renders() -> None:
    (finding,) = rendering.look()
    assert (finding.state, finding.values["frames"]) == ("ok", 21)


def test_what_stops_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise UnavailableError("loading: out of device memory")

    monkeypatch.setattr(rendering, "render_job", fail)
    (finding,) = rendering.look()
    assert finding.state == "fault" and "out of device memory" in finding.text
