"""Describes the Hugging Face repositories of model files: licence and pinned revision. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from scope_batch.models.layout import LARGE_ARTIFACTS, Artifact, Role


@dataclass(frozen=True, slots=True)
class Licence:
    """`words` say in plain language what it means. `commercial`: None where that is not known."""

    name: str
    words: str
    commercial: bool | None


APACHE = Licence("Apache-2.0", "commercial use is allowed", True)
NON_COMMERCIAL = Licence(
    "CC BY-NC-SA 4.0", "NOT for commercial use; name the authors, share what is derived under the same licence", False
)
UNKNOWN = Licence("not known", "not known here: read the repository's page before you use what it makes", None)

_LICENCES: Mapping[str, Licence] = MappingProxyType(
    {
        "Wan-AI/Wan2.1-VACE-1.3B": APACHE,
        "daydreamlive/Wan2.1-T2V-1.3B": APACHE,  # files of Wan 2.1, in other folders or formats; so are the next two
        "daydreamlive/Wan2.1-T2V-14B": APACHE,
        "daydreamlive/WanVideo_comfy": APACHE,
        "daydreamlive/LongLive-1.3B": NON_COMMERCIAL,
    }
)

REVISIONS: Mapping[str, str] = MappingProxyType({})
"""Repository -> commit to fetch. None has been tried against published files yet, so whatever is newest is fetched."""


_SMALLEST_GB: Mapping[Role, float] = MappingProxyType(
    {"backbone": 2.8, "builtin_lora": 0.1, "vae": 0.05, "text_encoder": 6.7, "tokenizer": 0.02, "vace": 1.3}
)
"""Published files at two bytes a weight, the text encoder at one; some are stored in four."""
_LARGE_GB: Mapping[Role, float] = MappingProxyType({"backbone": 28.6, "vace": 6.0})
"""Those of the models of 14 billion parameters."""


def smallest_gb(artifacts: Iterable[Artifact]) -> float:
    """How many GB these files are at least; how many they are exactly, the Hub is asked by `models pull --dry-run`."""
    return sum(
        (_LARGE_GB if artifact in LARGE_ARTIFACTS else _SMALLEST_GB).get(artifact.role, 0) for artifact in artifacts
    )


def licence_of(repo: str) -> Licence:
    return _LICENCES.get(repo, UNKNOWN)


def page_of(repo: str) -> str:
    """Where people read about it."""
    return f"https://huggingface.co/{repo}"
