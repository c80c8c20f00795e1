from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint

import pytest

from scope_batch import plugins

GROUP = "scope_batch.processors"
NAMES = ("double", "trail", "ahead", "far", "half", "failing", "tenfold")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processors of `kinds.py`, as if a package had brought them."""
    entries = {name: (EntryPoint(name, f"tests.processors.kinds:{name.upper()}", GROUP),) for name in NAMES}

    def found(group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
        return entries if group == GROUP else {}

    monkeypatch.setattr(plugins, "entry_points_of", found)
