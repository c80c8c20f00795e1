"""What is known of the repositories that model files come from: licence and pinned revision. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


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


def licence_of(repo: str) -> Licence:
    return _LICENCES.get(repo, UNKNOWN)


def page_of(repo: str) -> str:
    """Where people read about it."""
    return f"https://huggingface.co/{repo}"
