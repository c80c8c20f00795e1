"""Lists licence, pinned revision and size of the Hugging Face repositories of model files. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from scope_batch.models.layout import LARGE_ARTIFACTS, Artifact, Role


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence. words: a summary in plain language; commercial: None if commercial use is not known."""

    name: str
    words: str
    commercial: bool | None


APACHE = Licence("Apache-2.0", "commercial use is allowed", True)
NON_COMMERCIAL = Licence(
    "CC BY-NC-SA 4.0",
    "NOT for commercial use; name the authors, share what is derived under the same licence. So says the model card; "
    "NVlabs' repository says Apache-2.0 for LongLive 1.3B since 2025-11-01",
    False,
)
UNKNOWN = Licence("not known", "not known here: read the repository's page before you use what it makes", None)

_LICENCES: Mapping[str, Licence] = MappingProxyType(
    {
        "Wan-AI/Wan2.1-VACE-1.3B": APACHE,
        "daydreamlive/Wan2.1-T2V-1.3B": APACHE,  # Wan 2.1 in other folders or formats, as the next two
        "daydreamlive/Wan2.1-T2V-14B": APACHE,
        "daydreamlive/WanVideo_comfy": APACHE,
        "daydreamlive/LongLive-1.3B": NON_COMMERCIAL,
        "daydreamlive/MemFlow": APACHE,  # by their model cards, as the next one
        "daydreamlive/Autoencoders": APACHE,
        "depth-anything/Depth-Anything-V2-Small-hf": APACHE,
    }
)

REVISIONS: Mapping[str, str] = MappingProxyType({})
"""Commit to fetch, by repository. None is pinned yet, so the newest commit is fetched."""


_SMALLEST_GB: Mapping[Role, float] = MappingProxyType(
    {
        "backbone": 2.8,
        "builtin_lora": 0.1,
        "vae": 0.05,
        "text_encoder": 6.7,
        "tokenizer": 0.02,
        "vace": 1.3,
        "processor": 0.1,
    }
)
"""Sizes of the published 1.3B models at two bytes per weight, the text encoder at one; some files have four."""
_LARGE_GB: Mapping[Role, float] = MappingProxyType({"backbone": 28.6, "vace": 6.0})
"""Sizes of the 14B models."""


def smallest_gb(artifacts: Iterable[Artifact]) -> float:
    """Return a lower bound of the size of these files in GB; `models pull --dry-run` shows the exact size."""
    return sum(
        (_LARGE_GB if artifact in LARGE_ARTIFACTS else _SMALLEST_GB).get(artifact.role, 0) for artifact in artifacts
    )


def licence_of(repo: str) -> Licence:
    """Return the licence of a repository "owner/name", `UNKNOWN` if it is not in the list."""
    return _LICENCES.get(repo, UNKNOWN)


def page_of(repo: str) -> str:
    """Return the address of a repository's web page."""
    return f"https://huggingface.co/{repo}"
