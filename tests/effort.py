"""Counts the work of a call without a clock, so that a test of speed gives the same verdict on a busy machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType


def calls_made(action: Callable[[], object]) -> int:
    """Calls of functions, of Python and of C, that `action` makes in this thread."""
    made = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal made
        made += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(before)
    return made


def growth(action: Callable[[int], object], size: int) -> float:
    """How much more work twice the `size` is: 2 where the work is in proportion to the size, 4 to its square.

    The first call of all warms caches and imports, and is not counted.
    """
    action(size)
    return calls_made(lambda: action(2 * size)) / calls_made(lambda: action(size))
