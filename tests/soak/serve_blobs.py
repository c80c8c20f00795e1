"""Places arrays in an uploaded blob by right and wrong shapes and offsets, and reads whatever is accepted.

    python -m tests.soak.serve_blobs --examples 20000

An array is accepted only if its bytes lie inside the blob. Nothing else than a refusal is ever raised, and no example
takes more memory than arrays of the right size do. Prints the number of examples that were accepted and refused, after
each thousand of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import tracemalloc
from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st

from scope_batch.errors import ProblemsError
from scope_batch.media.chunk_inputs import open_inputs
from scope_batch.render.prepare import prepare_job
from scope_batch.serve.requests import SHAPES, Files, translate
from scope_batch.serve.roots import Root
from scope_batch.serve.uploads import UploadLimits, Uploads

PIXELS = 64
RIGHT = {
    "vace_frames": [1, 3, 12, PIXELS, PIXELS], "vace_masks": [1, 1, 12, PIXELS, PIXELS],
    "input_video": [12, PIXELS, PIXELS, 3],
}  # fmt: skip
ITEM_BYTES = {"vace_frames": 4, "vace_masks": 4, "input_video": 1}
MOST_BYTES = 24 << 20
"""More than any right example takes: two slots of every array, as floats."""
BATCH = 1000
ODD_NUMBERS = st.one_of(
    st.sampled_from([-1, 0, 1, 2, 3, 4, 11, 13, 24, 63, 65, 127, 128, 2**31, 2**32 - 1, 2**62, 2**63, 2**64, -(2**63)]),
    st.integers(-(10**30), 10**30),
    st.integers(0, 3_000_000),
    st.sampled_from([True, 1.0, 0.5, "12", None, [], float(2**60)]),
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[dict[str, Any], int]:
    """Return the fields of a request, one value of which may be wrong, and the bytes of its blob."""
    offset, entries, places = 0, list[dict[str, Any]](), list[tuple[int, str]]()
    names = draw(st.sampled_from([["vace_frames"], ["vace_frames", "vace_masks"], ["input_video"], [*RIGHT]]))
    for chunk in range(draw(st.integers(1, 2))):
        entry: dict[str, Any] = {"chunk": chunk}
        for name in names:
            shape = [*RIGHT[name]]
            if chunk == 1:
                shape[SHAPES[name]] = draw(st.sampled_from([9, 12, 0]))
            entry |= {f"{name}_shape": shape, f"{name}_offset": offset}
            offset += prod(shape) * ITEM_BYTES[name]
            places.append((chunk, name))
        entries.append(entry)
    size = offset
    match draw(st.sampled_from(["right", "shape", "axes", "offset", "blob", "missing", "two"])):
        case "right":
            pass
        case "blob":
            size = draw(st.integers(1, offset + 8))
        case kind:
            for _ in range(2 if kind == "two" else 1):
                chunk, name = draw(st.sampled_from(places))
                _spoil(draw, entries[chunk], name, kind)
    fields = {"pipeline_id": "slate", "prompt": "a cat", "num_frames": 21, "height": PIXELS, "width": PIXELS}
    return {**fields, "chunk_specs": entries}, size


def _spoil(draw: st.DrawFn, entry: dict[str, Any], name: str, kind: str) -> None:
    shape, offset = f"{name}_shape", f"{name}_offset"
    if kind in ("shape", "two") and isinstance(entry.get(shape), list):
        axis = draw(st.integers(0, len(entry[shape]) - 1))
        entry[shape] = [*entry[shape][:axis], draw(ODD_NUMBERS), *entry[shape][axis + 1 :]]
    elif kind == "axes":
        entry[shape] = draw(st.one_of(st.lists(ODD_NUMBERS, max_size=6), ODD_NUMBERS))
    elif kind == "missing":
        entry.pop(draw(st.sampled_from([shape, offset])), None)
    else:
        entry[offset] = draw(ODD_NUMBERS)


def try_requests(folder: Path, examples: int, seed: int) -> Counter[str]:
    """Returns how many examples were accepted and refused."""
    for name in ("assets", "lora"):
        (folder / name).mkdir()
    uploads = Uploads(folder / "uploads", UploadLimits())
    files = Files(uploads, Root(folder / "assets", "--assets-root"), Root(folder / "lora", "--lora-root"))
    blob = folder / "uploads" / f"data-{'0' * 32}.bin"
    whole = np.full(1 << 18, 0.25, "<f4").tobytes()
    counts: Counter[str] = Counter()

    @with_seed(seed)
    @settings(max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=[*HealthCheck])  # fmt: skip
    @given(request=requests())
    def attempt(request: tuple[dict[str, Any], int]) -> None:
        fields, size = request
        with blob.open("wb") as file:
            file.write(whole)
            file.truncate(size)
        tracemalloc.reset_peak()
        before_bytes = tracemalloc.get_traced_memory()[0]
        try:
            job, _ = translate({**fields, "data_blob_path": blob.stem}, {}, files)
            plan = prepare_job(job)
            with open_inputs(plan) as inputs:
                for _ in plan.chunks:
                    inputs.get()
        except ProblemsError as error:
            assert error.problems
            counts["refused"] += 1
        else:
            for entry in job.chunk_specs:
                for name in RIGHT:
                    shape, offset = getattr(entry, f"{name}_shape"), getattr(entry, f"{name}_offset")
                    if shape is not None:
                        assert 0 <= offset <= offset + prod(shape) * ITEM_BYTES[name] <= size, fields
                        assert min(shape) > 0, fields
            counts["accepted"] += 1
        took_bytes = tracemalloc.get_traced_memory()[1] - before_bytes
        assert took_bytes < MOST_BYTES, f"{took_bytes} bytes: {fields}"

    tracemalloc.start()
    try:
        attempt()
    finally:
        tracemalloc.stop()
    return counts


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    for batch in range(0, options.examples, BATCH):
        with tempfile.TemporaryDirectory(prefix="soak-blobs-") as folder:
            counts += try_requests(Path(folder), min(BATCH, options.examples - batch), options.seed + batch)
        print(dict(counts), flush=True)


if __name__ == "__main__":
    run()
    sys.exit(0)
