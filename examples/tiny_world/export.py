"""Packs trained weights into 16-bit files, and writes them as a models folder that scope-batch reads.

python -m examples.tiny_world.export pack FOLDER      FOLDER of the training -> weights/ beside this file
python -m examples.tiny_world.export models FOLDER    weights/ -> FOLDER, for scope-batch render --models FOLDER
python -m examples.tiny_world.export learnt FOLDER    weights/ -> FOLDER, for a training that carries on

The packed VAE leaves out the time taps that are zero; they are put back in the models folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from scope_batch.models import layout
from scope_batch.models.layout import Artifact, VaeType

from .transformer import FEED_FORWARD, HEAD_DIM
from .vae import is_timed
from .words import tokenizer

State = dict[str, Tensor]

WEIGHTS = Path(__file__).parent / "weights"
PARTS = ("wan", "text")
"""Packed file of each part of the trained world."""
EXTRAS = ("vace", "streamdiffusionv2", "tae")
"""What `extras` trains for the set."""
PIPELINES = ("longlive", "streamdiffusionv2", "memflow", "reward-forcing", "krea-realtime-video")


def pack(learnt: Path, weights: Path) -> None:
    """Write what `learnt` has to `weights`, in float16: of the transformer and its text encoder the running average."""
    weights.mkdir(parents=True, exist_ok=True)
    vae = load_file(learnt / "vae.safetensors")
    save_file({key: _without_idle_taps(key, tensor).half() for key, tensor in vae.items()}, weights / "vae.safetensors")
    world = load_file(learnt / "average.safetensors")
    for part in PARTS:
        state = {key.removeprefix(f"{part}."): t.half() for key, t in world.items() if key.startswith(f"{part}.")}
        save_file(state, weights / f"{part}.safetensors")
    for name in EXTRAS:
        if (learnt / f"{name}.safetensors").exists():
            shutil.copyfile(learnt / f"{name}.safetensors", weights / f"{name}.safetensors")


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
    """Write the files that all pipelines read, in the layout of a models folder; what is not trained is left out."""
    packed = {file.stem: load_file(file) for file in weights.glob("*.safetensors")}
    wan, vae = packed["wan"], {key: _with_idle_taps(key, tensor) for key, tensor in packed["vae"].items()}
    heads = wan["patch_embedding.weight"].shape[0] // HEAD_DIM
    sizes = {"dim": heads * HEAD_DIM, "ffn_dim": FEED_FORWARD, "num_heads": heads}
    config = json.dumps({"_class_name": "WanModel", "model_type": "t2v", **sizes}, indent=1) + "\n"
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer(), pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    writers: dict[str, Callable[[Path, Artifact], Any]] = {
        "config": lambda place, _: place.write_text(config),
        "backbone": lambda place, file: _save_backbone(changed(wan, packed.get(_changes_of(file), {})), place),
        "builtin_lora": lambda place, _: torch.save({"generator_lora": _idle_lora(wan)}, place),
        "vae": lambda place, file: torch.save(vae if file == layout.VAES["wan"] else packed["tae"], place),
        "text_encoder": lambda place, _: save_file(packed["text"], place),
        "tokenizer": lambda place, _: fast.save_pretrained(str(place)),
        "vace": lambda place, _: save_file(packed["vace"], place),
    }
    kinds: tuple[VaeType, ...] = ("wan", "tae") if "tae" in packed else ("wan",)
    for pipeline in PIPELINES:
        for kind in kinds:
            for artifact in layout.artifacts(pipeline, kind, vace="vace" in packed):
                place = models / artifact.local
                place.parent.mkdir(parents=True, exist_ok=True)
                if not place.exists():
                    writers[artifact.role](place, artifact)


def _changes_of(backbone: Artifact) -> str:
    return "streamdiffusionv2" if backbone in layout.artifacts("streamdiffusionv2") else ""


def _save_backbone(wan: State, place: Path) -> None:
    if place.suffix == ".safetensors":
        save_file(wan, place)
        return
    weights = {f"model.{key}": tensor for key, tensor in wan.items()}
    torch.save(weights if place.name == "rewardforcing.pt" else {"generator": weights}, place)


def changed(state: State, changes: State) -> State:
    """Return weights with changes of low rank, `NAME.lora_A.weight` and `NAME.lora_B.weight`; others replace theirs."""
    result = state | {key: tensor for key, tensor in changes.items() if ".lora_" not in key}
    for key, down in changes.items():
        if key.endswith(".lora_A.weight"):
            name = key.removesuffix(".lora_A.weight")
            up = changes[f"{name}.lora_B.weight"]
            result[f"{name}.weight"] = (state[f"{name}.weight"].float() + up.float() @ down.float()).half()
    return result


def _idle_lora(wan: State) -> State:
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
