"""Lists the model files of each pipeline, their Hugging Face repositories and their paths in Scope's layout.

Torch-free. `scope-batch models pull` uses the patterns, the loaders use the paths.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

VaeType = Literal["wan", "lightvae", "tae", "lighttae"]
Role = Literal["config", "backbone", "builtin_lora", "vae", "text_encoder", "tokenizer", "vace", "processor"]


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file or folder of a Hugging Face repository.

    repo   "owner/name" on the Hub; the local folder has the second part as its name.
    path   inside the repository, with `/`.
    probe  "" for a file; for a folder the name of a file that must be in it.
    """

    role: Role
    repo: str
    path: str
    probe: str = ""

    @property
    def local(self) -> PurePosixPath:
        """Return the path below the models folder."""
        return PurePosixPath(self.repo.split("/")[-1]) / self.path

    @property
    def pattern(self) -> str:
        """Return the pattern that selects the file, or everything in the folder, for a download."""
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
"""lightvae is the network of wan with a quarter of the channels; tae and lighttae are another network."""
TAES: frozenset[VaeType] = frozenset(("tae", "lighttae"))

VACE = Artifact("vace", "daydreamlive/WanVideo_comfy", "Wan2_1-VACE_module_1_3B_bf16.safetensors")
VACE_CHECKPOINT = Artifact("vace", "Wan-AI/Wan2.1-VACE-1.3B", "diffusion_pytorch_model.safetensors")
"""The whole model that contains the module; used if the module's own file is missing."""

_LARGE = frozenset(("krea-realtime-video",))
"""Pipelines with a backbone of 14 billion parameters; the others have 1.3 billion."""
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
"""Weights of 14B models."""


def is_known(pipeline_id: str) -> bool:
    """Return True if the files of the pipeline are listed here; those of plugins are not."""
    return pipeline_id in _BACKBONES


def artifacts(pipeline_id: str, vae_type: VaeType = "wan", *, vace: bool = False) -> tuple[Artifact, ...]:
    """Return everything that `pipeline_id` reads, one artifact per role; vace: with the VACE module, as the last one.

    Raises KeyError for a pipeline that is not listed here.
    """
    config, module = (_LARGE_CONFIG, LARGE_VACE) if pipeline_id in _LARGE else (_CONFIG, VACE)
    return (config, *_BACKBONES[pipeline_id], VAES[vae_type], _TEXT_ENCODER, TOKENIZER, *([module] if vace else []))


def first_names(names: Collection[str]) -> str:
    """Join the first five names for a message, with dots if there are more."""
    return ", ".join(list(names)[:5]) + (" ..." if len(names) > 5 else "")
