"""Words that messages about model files share. Torch-free."""

from __future__ import annotations

from collections.abc import Collection


def first_names(names: Collection[str]) -> str:
    """The first five of them, and dots where there are more."""
    return ", ".join(list(names)[:5]) + (" ..." if len(names) > 5 else "")
