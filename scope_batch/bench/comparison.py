"""Compares measured renders with the figures that an earlier bench wrote. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from scope_batch.errors import JobError, MissingInputError
from scope_batch.files.access import is_file, read_json, shown

Key = tuple[str, ...]
"""Pipeline, case, size, kernels and speed: runs of the same key can be compared."""


def read_earlier(path: Path) -> dict[Key, float]:
    """Return the median frames per second of each kind of run. Raises MissingInputError or JobError."""
    if not is_file(path):
        raise MissingInputError(f"--against {shown(path)}: no such file")
    values = read_json(path)
    found: dict[Key, list[float]] = {}
    try:
        for run in values["runs"]:
            found.setdefault(key_of(run), []).append(float(run["fps"]))
    except (ValueError, LookupError, TypeError) as error:
        raise JobError(f"--against {shown(path)}: no figures of scope-batch bench") from error
    return {key: median(values) for key, values in found.items()}


def key_of(run: Mapping[str, Any]) -> Key:
    """Return the key of a run in a file."""
    size = f"{run['width']}x{run['height']}"
    return run["pipeline"], run["case"], size, run["kernels"], run.get("speed", "exact")


def slower(now: Sequence[tuple[Key, float]], earlier: Mapping[Key, float], tolerance_percent: float) -> list[str]:
    """Return a line for each kind of run whose median frames per second fell by more than the tolerance."""
    found: dict[Key, list[float]] = {}
    for key, fps in now:
        found.setdefault(key, []).append(fps)
    changes = {
        key: 100 * (median(values) / earlier[key] - 1) for key, values in found.items() if earlier.get(key, 0.0) > 0
    }
    return [
        f"{' '.join(key)}: {change:+.1f} % frames per second; allowed: -{tolerance_percent:g} %"
        for key, change in changes.items()
        if change < -tolerance_percent
    ]
