"""Make the small copies in `cases/` from a folder with the whole cases: python trim.py FOLDER [NAME ...]

Kept: inputs, latents, encoded input and frame means as they are, contexts in float16 and every fifth channel, frames
where they are compared (`WITH_FRAMES`). Left out: prompt embeddings, and what another case holds already (`SAME_AS`).
Of `TAE_CASE`, whose three chunks are all compared: one channel of the gray input, every second one of the latents, a
corner of the frames. Pictures are stored with time varying fastest and everything packed by LZMA, a third of the size
of what `np.savez_compressed` makes; `np.load` reads both alike.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CASES = Path(__file__).parent / "cases"
CONTEXT_CHANNELS = slice(0, None, 5)
SAME_AS = {
    "vace_depth_scale_0.5": "vace_depth_first_chunk",
    "vace_depth_scale_1.5": "vace_depth_first_chunk",
    "vace_depth_ref": "vace_depth_first_chunk",
}
"""Cases whose control frames, and context where it has no reference, are those of another."""
VACE_CASES = (
    "vace_depth_first_chunk",
    "vace_depth_scale_0.5",
    "vace_depth_scale_1.5",
    "vace_inpaint_first_chunk",
    "vace_softmask_first_chunk",
    "vace_firstframe",
    "vace_ref_image",
    "vace_depth_ref",
)
TAE_CASE = "vace_depth_tae"
TAE_CHANNELS = slice(0, None, 2)
TAE_CORNER = (slice(32), slice(32))
WITH_FRAMES = ("longlive_t2v_nonsquare_nolora", "longlive_v2v_fixed", "longlive_mode_switch", "longlive_reset")
AS_THEY_ARE = ("latents_", "encoded_", "frame_mean")
PICTURES = ("in_", "frames")


def kept(name: str, key: str, array: NDArray[Any]) -> NDArray[Any] | None:
    """What is stored of an array of the case `name`; None = nothing."""
    if name == TAE_CASE:
        if key == "in_frames":
            assert np.ptp(array, axis=-1).max() == 0
            return array[..., :1]
        if key == "frames":
            return array[:, *TAE_CORNER]
        if key == "frames_index":
            return array
        if key.startswith("latents_"):
            return array[:, TAE_CHANNELS]
    if key.startswith("vace_context_"):
        return array[CONTEXT_CHANNELS].astype(np.float16)
    if key.startswith("frames") and name not in WITH_FRAMES:
        return None
    if key.startswith("frame_mean") and name in VACE_CASES:
        return None
    if key.startswith(PICTURES):
        return np.asfortranarray(array)
    return array if key.startswith(AS_THEY_ARE) else None


def trim(source: Path, name: str) -> None:
    originals = np.load(source / f"{SAME_AS[name]}.npz") if name in SAME_AS else {}
    whole = np.load(source / f"{name}.npz")
    shared = {key for key, array in originals.items() if key in whole and np.array_equal(array, whole[key])}
    with zipfile.ZipFile(CASES / f"{name}.npz", "w") as out:
        for key, array in whole.items():
            small = None if key in shared else kept(name, key, array)
            if small is not None:
                entry = zipfile.ZipInfo(f"{key}.npy")  # without a date: the same bytes every time
                entry.compress_type = zipfile.ZIP_LZMA
                with out.open(entry, "w") as file:
                    np.save(file, small)


if __name__ == "__main__":
    folder, *names = sys.argv[1:]
    for case in names or sorted(path.stem for path in CASES.glob("*.npz")):
        trim(Path(folder), case)
