"""A small part of the soak program; by hand it tries 20,000 examples."""

from __future__ import annotations

from pathlib import Path

from tests.soak.serve_blobs import try_requests


def test_only_arrays_inside_the_blob_are_accepted_and_nothing_large_is_made(tmp_path: Path) -> None:
    counts = try_requests(tmp_path, 150, 10_000)
    assert min(counts["accepted"], counts["refused"]) > 15
