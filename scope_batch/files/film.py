"""Shows a rendered film in a notebook, without importing anything of the notebook."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from scope_batch.errors import MissingInputError, UsageError
from scope_batch.files.access import is_file, reading

PLAYED = {".mp4": "video/mp4", ".webm": "video/webm", ".mov": "video/mp4"}
"""Suffixes of files that browsers play, and their media types."""
EMBED_BYTES = 16_000_000
"""Largest file that is written into the notebook itself; a larger one is read from the disk when it is shown."""


@dataclass(frozen=True, slots=True)
class Film:
    """A film as the value of a notebook's cell: Jupyter shows it as a video.

    path    .mp4, .webm or .mov.
    width   of the player in CSS pixels at most; None: that of the film, within the page.
    embed   largest size in bytes up to which the film is part of the notebook, so that it plays anywhere. A larger one
            is read from `path`, which must then lie below the notebook's folder.

    Raises MissingInputError if there is no such file, UsageError for one that browsers do not play.
    """

    path: Path
    width: int | None = None
    embed: int = EMBED_BYTES

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        if not is_played(self.path):
            raise UsageError(f"{self.path}: not played by browsers; allowed: {', '.join(PLAYED)}")
        if not is_file(self.path):
            raise MissingInputError(f"{self.path}: no such file: render the job first")

    def _repr_html_(self) -> str:
        """Return the video as HTML. Raises MissingInputError if the file is gone."""
        kind = PLAYED[self.path.suffix.lower()]
        source = quote(os.path.relpath(self.path))
        with reading(self.path):
            if self.path.stat().st_size <= self.embed:
                source = f"data:{kind};base64,{base64.b64encode(self.path.read_bytes()).decode()}"
        width = "" if self.width is None else f"width:{int(self.width)}px;"
        return (
            f'<video controls loop muted playsinline style="{width}max-width:100%" title="{escape(self.path.name)}">'
            f'<source src="{source}" type="{kind}"></video>'
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:  # noqa: ARG002  (notebooks pass both)
        """Return the film by media type; notebooks choose among them."""
        return {"text/html": self._repr_html_(), "text/plain": repr(self)}


def is_played(path: Path) -> bool:
    """Return True if browsers play files of that suffix."""
    return path.suffix.lower() in PLAYED
