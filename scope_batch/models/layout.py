"""Lists the files that a pipeline needs and their paths: in Scope's folder, one per Hugging Face repository.

Torch-free; `scope-batch models pull` reads the patterns, the loader the paths.


Words that messages about model files share. Torch-free.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

VaeType = Literal["wan", "lightvae", "tae", "lighttae"]
Role = Literal["config", "backbone", "builtin_lora", "vae", "text_encoder", "tokenizer", "vace"]


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file (or folder) of a Hugging Face repository.

    repo     "owner/name" on the Hub; the local folder is the name.
    path     inside the repository, with `/`.
    probe    for a folder: a file that must be in it.
    """

    role: Role
    repo: str
    path: str
    probe: str = ""

    @property
    def local(self) -> PurePosixPath:
        """Path below the models folder."""
        return PurePosixPath(self.repo.split("/")[-1]) / self.path

    @property
    def pattern(self) -> str:
        """What to ask the Hub for: the file, or everything in the folder."""
        return f"{self.path}/*" if self.probe else self.path


_BASE = "daydreamlive/Wan2.1-T2V-1.3B"
_CONFIG = Artifact("config", _BASE, "config.json")
TOKENIZER = Artifact("tokenizer", _BASE, "google/umt5-xxl", probe="tokenizer_config.json")
_TEXT_ENCODER = Artifact("text_encoder", "daydreamlive/WanVideo_comfy", "umt5-xxl-enc-fp8_e4m3fn.safetensors")

VAES: dict[VaeType, Artifact] = {
    "wan": Artifact("vae", _BASE, "Wan2.1_VAE.pth"),
    "lightvae": Artifact("vae", "daydreamlive/Autoencoders", "lightvaew2_1.pth"),
    "tae": Artifact("vae", "daydreamlive/Autoencoders", "taew2_1.pth"),
    "lighttae": Artifact("vae", "daydreamlive/Autoencoders", "lighttaew2_1.pth"),
}
"""The lightvae is the same class as wan with a quarter of the channels; tae and lighttae are another network."""
TAES: frozenset[VaeType] = frozenset(("tae", "lighttae"))

VACE = Artifact("vace", "daydreamlive/WanVideo_comfy", "Wan2_1-VACE_module_1_3B_bf16.safetensors")
VACE_CHECKPOINT = Artifact("vace", "Wan-AI/Wan2.1-VACE-1.3B", "diffusion_pytorch_model.safetensors")
"""The whole model that the module is a part of: taken where the module's own file is absent."""

_LARGE = frozenset(("krea-realtime-video",))
"""Pipelines on the backbone of 14 billion parameters; the others stand on that of 1.3."""
_LARGE_CONFIG = Artifact("config", "daydreamlive/Wan2.1-T2V-14B", "config.json")
LARGE_VACE = Artifact("vace", "daydreamlive/WanVideo_comfy", "Wan2_1-VACE_module_14B_bf16.safetensors")

_BACKBONES: dict[str, tuple[Artifact, ...]] = {
    "longlive": (
        Artifact("backbone", "daydreamlive/LongLive-1.3B", "models/longlive_base.pt"),
        Artifact("builtin_lora", "daydreamlive/LongLive-1.3B", "models/lora.pt"),
    ),
    "streamdiffusionv2": (Artifact("backbone", "daydreamlive/StreamDiffusionV2", "wan_causal_dmd_v2v/model.pt"),),
    "memflow": (
        Artifact("backbone", "daydreamlive/MemFlow", "base.pt"),
        Artifact("builtin_lora", "daydreamlive/MemFlow", "lora.pt"),
    ),
    "reward-forcing": (Artifact("backbone", "daydreamlive/Reward-Forcing-T2V-1.3B", "rewardforcing.pt"),),
    "krea-realtime-video": (
        Artifact("backbone", "daydreamlive/krea-realtime-video", "krea-realtime-video-14b.safetensors"),
    ),
}


LARGE_ARTIFACTS = frozenset((LARGE_VACE, *(file for name in _LARGE for file in _BACKBONES[name])))
"""Files of 14 billion parameters."""


def is_known(pipeline_id: str) -> bool:
    """Whether its files stand here; those of a plugin do not."""
    return pipeline_id in _BACKBONES


def artifacts(pipeline_id: str, vae_type: VaeType = "wan", *, vace: bool = False) -> tuple[Artifact, ...]:
    """Everything that `pipeline_id` reads, one artifact per role; `vace`: with the VACE module, last.

    A KeyError is a pipeline that needs no models.
    """
    config, module = (_LARGE_CONFIG, LARGE_VACE) if pipeline_id in _LARGE else (_CONFIG, VACE)
    return (config, *_BACKBONES[pipeline_id], VAES[vae_type], _TEXT_ENCODER, TOKENIZER, *([module] if vace else []))


def first_names(names: Collection[str]) -> str:
    """The first five of them, and dots where there are more."""
    return ", ".join(list(names)[:5]) + (" ..." if len(names) > 5 else "")
