"""Checks the disks of the cache folder and of the working directory, where outputs go."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from scope_batch.doctor.finding import Finding, first_line
from scope_batch.errors import OutputError
from scope_batch.files.cache import cache_folder, flush_to_disk

WRITTEN_BYTES = 64 << 20
SLOW_MB_PER_S = 20.0
"""A slower disk is warned about: raw frames of 832x480 at 16 per second are 19 MB/s."""
SMALL_BYTES = 2 << 30

_PIECE_BYTES = 4 << 20


def check(folder: Path) -> Iterator[Finding]:
    yield cache()
    yield disk(folder)


def cache() -> Finding:
    """Check that the cache folder, for conversions, embeddings and the tiny set, can be written."""
    try:
        folder = cache_folder()
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
            flush_to_disk(file)
        free = shutil.disk_usage(folder).free
    except (OSError, OutputError) as error:
        text = f"the cache folder cannot be written: {first_line(error)}"
        return Finding("cache", "fault", text, "set SCOPE_BATCH_CACHE to another folder")
    values = {"folder": str(folder), "free_bytes": free}
    text = f"{folder}: can be written, {_gb(free)} free"
    if free < SMALL_BYTES:
        return Finding(
            "cache", "warn", text, "free some space: a converted checkpoint is as large as its original", values
        )
    return Finding("cache", "ok", text, values=values)


def disk(folder: Path, size_bytes: int = WRITTEN_BYTES) -> Finding:
    """Measure how fast `size_bytes` are written to the disk of `folder`, and its free space."""
    piece = os.urandom(min(size_bytes, _PIECE_BYTES))
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            started_s = time.perf_counter()
            for _ in range(max(1, size_bytes // len(piece))):
                file.write(piece)
            flush_to_disk(file)
            took_s = time.perf_counter() - started_s
        free = shutil.disk_usage(folder).free
    except OSError as error:
        text = f"{folder} cannot be written: {error.strerror}"
        return Finding("disk", "fault", text, "run from another folder, or name one with -o")
    speed = size_bytes / 1e6 / max(took_s, 1e-9)
    text = f"{folder}: {speed:,.0f} MB/s, {_gb(free)} free"
    values = {"folder": str(folder), "mb_per_s": round(speed, 1), "free_bytes": free}
    if free < SMALL_BYTES:
        return Finding("disk", "warn", text, "free some space: `plan` shows how large an output will be", values)
    if speed < SLOW_MB_PER_S:
        return Finding("disk", "warn", text, "write .npy and .nut to another disk, or .mp4, which is smaller", values)
    return Finding("disk", "ok", text, values=values)


def _gb(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
