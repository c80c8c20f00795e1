"""Make the small copies of the VACE cases in `cases/` from a folder with the whole ones: python trim_vace.py FOLDER

Kept: inputs and latents as they are, contexts in float16 and every fifth channel. Left out: frames, prompt embeddings,
and what another case holds already (`SAME_AS`). Frames are stored with time varying fastest and packed by LZMA, a third
of the size of what `np.savez_compressed` makes; `np.load` reads both alike.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONTEXT_CHANNELS = slice(0, None, 5)
SAME_AS = {
    "vace_depth_scale_0.5": "vace_depth_first_chunk",
    "vace_depth_scale_1.5": "vace_depth_first_chunk",
    "vace_depth_ref": "vace_depth_first_chunk",
}
"""Cases whose control frames, and context where it has no reference, are those of another."""
NAMES = (
    "vace_depth_first_chunk",
    "vace_depth_scale_0.5",
    "vace_depth_scale_1.5",
    "vace_inpaint_first_chunk",
    "vace_softmask_first_chunk",
    "vace_firstframe",
    "vace_ref_image",
    "vace_depth_ref",
)


def kept(key: str, array: NDArray[Any], original: NDArray[Any] | None) -> NDArray[Any] | None:
    """What is stored of an array; None = nothing. `original`: the array of this key in the case that holds it too."""
    if original is not None and np.array_equal(array, original):
        return None
    if key.startswith("vace_context_"):
        return array[CONTEXT_CHANNELS].astype(np.float16)
    if key.startswith("in_"):
        return np.asfortranarray(array)
    return array if key.startswith("latents_") else None


def main(source: Path) -> None:
    for name in NAMES:
        target = Path(__file__).parent / "cases" / f"{name}.npz"
        originals = np.load(source / f"{SAME_AS[name]}.npz") if name in SAME_AS else {}
        with zipfile.ZipFile(target, "w") as out:
            for key, array in np.load(source / f"{name}.npz").items():
                small = kept(key, array, originals.get(key))
                if small is not None:
                    entry = zipfile.ZipInfo(f"{key}.npy")  # without a date: the same bytes every time
                    entry.compress_type = zipfile.ZIP_LZMA
                    with out.open(entry, "w") as file:
                        np.save(file, small)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
