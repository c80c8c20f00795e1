from __future__ import annotations

import pytest

from tests.processors.kinds import install


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processors of `kinds.py`, as if a package had brought them."""
    install(monkeypatch)
