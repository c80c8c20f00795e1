"""Takes over the fixture that runs the program."""

from __future__ import annotations

from tests.golden.running import run

__all__ = ["run"]
