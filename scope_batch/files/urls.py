"""Maps URLs of shared storage to local paths and back. Opens nothing.

An input `s3://bucket/clips/a.mp4` is read from its local copy `CACHE/storage/s3/bucket/clips/a.mp4`, which
`scope_batch.storage.fetch` brings up to date; an output is made under `CACHE/to-upload` and uploaded from there.
"""

from __future__ import annotations

import re
from pathlib import Path

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub"}
"""Scheme of a URL -> package that opens it through fsspec."""
EXTRAS = {"s3": "s3", "gs": "gcs"}
"""Scheme -> extra of this package that installs it, where it is not installed anyway."""
COPIES, OUTPUTS = "storage", "to-upload"
"""Folders in the cache folder: local copies of inputs, and outputs that are made for storage."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_QUERY = re.compile(r"\?[^/?]*=")
_SECRETS = ((re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:/{1,2})[^/\s@]*@"), r"\1***@"),
            (re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:/{1,2}[^\s?]*\?)[^\s/]*=[^\s]*"), r"\1***"))  # fmt: skip


def _cache(*parts: str) -> Path:
    from scope_batch.files.cache import cache_path  # not for --help

    return cache_path(*parts).absolute()


def is_url(text: str) -> bool:
    """Return True for a text that begins as `s3://`, with any scheme of two letters or more."""
    return _URL.match(text) is not None


def checked_url(text: str) -> str:
    """Return the URL without a `/` at its end. Raises ValueError, whose message has no secret in it, if it cannot be
    used."""
    match = _URL.fullmatch(text)
    scheme = match[1] if match else ""
    if match is None or scheme not in PACKAGES:
        advice = "; write the path alone" if scheme.lower() == "file" else ""
        raise ValueError(f"{scheme}:// is not supported{advice}; allowed: {', '.join(f'{s}://' for s in PACKAGES)}")
    parts = match[2].removesuffix("/").split("/")
    if "@" in parts[0]:
        raise ValueError(
            f"URLs ({scheme}://) may not hold a user name or a password; credentials come from the environment or the "
            "settings of the storage"
        )
    if _QUERY.search(match[2]):
        raise ValueError(f"URLs ({scheme}://) may not hold a query (?name=value), such as a signature")
    if len(parts) < 2 or not all(parts) or not {".", ".."}.isdisjoint(parts):
        raise ValueError(f"must be {scheme}://BUCKET/NAME, without empty parts, . and ..")
    return f"{scheme}://{'/'.join(parts)}"


def copy_path(url: str) -> Path:
    """Return the path of the local copy of an input, an absolute one. Raises ValueError as `checked_url`."""
    return _below(_cache(COPIES), url)


def making_path(url: str, folder: Path | None = None) -> Path:
    """Return the local path at which an output for storage is made: below `folder`, by default in the cache folder.

    Raises ValueError as `checked_url`.
    """
    return _below((folder.absolute() if folder else _cache(OUTPUTS)), url)


def local_path(text: str) -> Path:
    """Return the path of a local copy for a URL, any other text as a path. Raises ValueError as `checked_url`."""
    return copy_path(text) if is_url(text) else Path(text)


def url_of(path: Path) -> str | None:
    """Return the URL of which `path` is the local copy, None for any other path."""
    root = _cache(COPIES)
    if not path.is_relative_to(root):
        return None
    scheme, *parts = path.relative_to(root).parts or ("",)
    return f"{scheme}://{'/'.join(parts)}" if scheme in PACKAGES and len(parts) > 1 else None


def with_urls(text: str) -> str:
    """Return a message with URLs in place of the paths of local copies."""
    root = f"{_cache(COPIES)}/"
    for scheme in PACKAGES:
        text = text.replace(f"{root}{scheme}/", f"{scheme}://")
    return text


def without_secrets(text: str) -> str:
    """Return a message with `***` in place of passwords and queries of URLs."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _below(folder: Path, url: str) -> Path:
    scheme, rest = checked_url(url).split("://")
    return folder / scheme / rest
