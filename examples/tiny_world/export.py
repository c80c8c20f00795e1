"""Packs trained weights into 16-bit files, and writes them as a models folder that scope-batch reads.

python -m examples.tiny_world.export pack FOLDER      FOLDER of the training -> weights/ beside this file
python -m examples.tiny_world.export models FOLDER    weights/ -> FOLDER, for scope-batch render --models FOLDER
python -m examples.tiny_world.export learnt FOLDER    weights/ -> FOLDER, for a training that carries on

The packed VAE leaves out the time taps that are zero; they are put back in the models folder.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from scope_batch.models import layout

from .transformer import FEED_FORWARD, HEAD_DIM
from .vae import is_timed
from .words import tokenizer

WEIGHTS = Path(__file__).parent / "weights"
PARTS = ("wan", "text")
"""Packed file of each part of the trained weights."""


def pack(learnt: Path, weights: Path) -> None:
    """Write the VAE and the running average of the transformer and its text encoder to `weights`, in float16."""
    weights.mkdir(parents=True, exist_ok=True)
    vae = load_file(learnt / "vae.safetensors")
    save_file({key: _without_idle_taps(key, tensor).half() for key, tensor in vae.items()}, weights / "vae.safetensors")
    world = load_file(learnt / "average.safetensors")
    for part in PARTS:
        state = {key.removeprefix(f"{part}."): t.half() for key, t in world.items() if key.startswith(f"{part}.")}
        save_file(state, weights / f"{part}.safetensors")


def _has_idle_taps(key: str, tensor: Tensor) -> bool:
    return tensor.ndim == 5 and tensor.shape[-1] == 3 and not is_timed(key)


def _without_idle_taps(key: str, tensor: Tensor) -> Tensor:
    return tensor[:, :, -1:].contiguous() if _has_idle_taps(key, tensor) else tensor.contiguous()


def _with_idle_taps(key: str, tensor: Tensor) -> Tensor:
    return F.pad(tensor, (0, 0, 0, 0, 2, 0)) if _has_idle_taps(key, tensor) else tensor


def unpack(weights: Path, learnt: Path) -> None:
    """Invert `pack`: training continues from the running average."""
    learnt.mkdir(parents=True, exist_ok=True)
    vae = load_file(weights / "vae.safetensors")
    save_file({key: _with_idle_taps(key, tensor).float() for key, tensor in vae.items()}, learnt / "vae.safetensors")
    world = {
        f"{part}.{key}": tensor.float()
        for part in PARTS
        for key, tensor in load_file(weights / f"{part}.safetensors").items()
    }
    for name in ("world", "average"):
        save_file(world, learnt / f"{name}.safetensors")


def lay_out(weights: Path, models: Path) -> None:
    """Write every file that the longlive pipeline reads, in the layout of a models folder."""
    places = {artifact.role: models / artifact.local for artifact in layout.artifacts("longlive", "wan")}
    for place in places.values():
        place.parent.mkdir(parents=True, exist_ok=True)
    wan = load_file(weights / "wan.safetensors")
    heads = wan["patch_embedding.weight"].shape[0] // HEAD_DIM
    sizes = {"dim": heads * HEAD_DIM, "ffn_dim": FEED_FORWARD, "num_heads": heads}
    places["config"].write_text(json.dumps({"_class_name": "WanModel", "model_type": "t2v", **sizes}, indent=1) + "\n")
    torch.save({"generator": {f"model.{key}": tensor for key, tensor in wan.items()}}, places["backbone"])
    torch.save({"generator_lora": _idle_lora(wan)}, places["builtin_lora"])
    vae = load_file(weights / "vae.safetensors")
    torch.save({key: _with_idle_taps(key, tensor) for key, tensor in vae.items()}, places["vae"])
    save_file(load_file(weights / "text.safetensors"), places["text_encoder"])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer(), pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(str(places["tokenizer"]))


def _idle_lora(wan: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a LoRA that changes one weight by a millionth: longlive requires a LoRA, and refuses one of zeros."""
    rows, columns = wan["blocks.0.ffn.net.2.weight"].shape
    down, up = torch.zeros(1, columns), torch.zeros(rows, 1)
    down[0, 0], up[0, 0] = 1, 1e-6
    name = "base_model.model.blocks.0.ffn.2"
    return {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("pack", "models", "learnt"))
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    if asked.action == "pack":
        pack(asked.folder, WEIGHTS)
    else:
        {"models": lay_out, "learnt": unpack}[asked.action](WEIGHTS, asked.folder)


if __name__ == "__main__":
    main()
