"""Packs trained weights into files of the package, from which `models: tiny` is built, and unpacks them.

python -m examples.tiny_world.export pack FOLDER      FOLDER of the training -> scope_batch/models/tiny/weights
python -m examples.tiny_world.export learnt FOLDER    the opposite, for a training that carries on

After packing, increase `TINY_VERSION`.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from scope_batch.models.tiny.build import WEIGHTS, packed_vae, unpacked_vae

PARTS = ("wan", "text")
"""Packed file of each part of the trained world."""
EXTRAS = ("vace", "streamdiffusionv2", "krea-realtime-video", "tae")
"""Files of `extras` that belong to the set."""


def pack(learnt: Path, weights: Path) -> None:
    """Write what `learnt` has to `weights`: of the transformer and its text encoder the running average.

    Everything becomes float16, but the kernels of the VAE, which become int8.
    """
    weights.mkdir(parents=True, exist_ok=True)
    if (learnt / "vae.safetensors").exists():
        save_file(packed_vae(load_file(learnt / "vae.safetensors")), weights / "vae.safetensors")
    if (learnt / "average.safetensors").exists():
        world = load_file(learnt / "average.safetensors")
        for part in PARTS:
            state = {key.removeprefix(f"{part}."): t.half() for key, t in world.items() if key.startswith(f"{part}.")}
            save_file(state, weights / f"{part}.safetensors")
    for name in EXTRAS:
        if (learnt / f"{name}.safetensors").exists():
            shutil.copyfile(learnt / f"{name}.safetensors", weights / f"{name}.safetensors")


def unpack(weights: Path, learnt: Path) -> None:
    """Invert `pack`: training continues from the running average."""
    learnt.mkdir(parents=True, exist_ok=True)
    vae = unpacked_vae(load_file(weights / "vae.safetensors"))
    save_file({key: tensor.float() for key, tensor in vae.items()}, learnt / "vae.safetensors")
    world = {
        f"{part}.{key}": tensor.float()
        for part in PARTS
        for key, tensor in load_file(weights / f"{part}.safetensors").items()
    }
    for name in ("world", "average"):
        save_file(world, learnt / f"{name}.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("pack", "learnt"))
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    if asked.action == "pack":
        pack(asked.folder, WEIGHTS)
    else:
        unpack(WEIGHTS, asked.folder)


if __name__ == "__main__":
    main()
