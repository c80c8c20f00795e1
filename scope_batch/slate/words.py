"""Numbers as text, and text that has to fit a box."""

from __future__ import annotations

from scope_batch.slate.theme import Font


def decimals(value: float) -> str:
    """ "0.30"; never "-0.00"."""
    return f"{round(value, 2) + 0.0:.2f}"


def wrap(text: str, face: Font, width: float, lines: int) -> list[str]:
    """At most `lines` lines of at most `width` pixels; what is left over becomes an ellipsis, long words are split."""
    made: list[str] = []
    rest = " ".join(text.split())
    while rest and len(made) < lines:
        fits = _fitting(rest, face, width)
        if fits < len(rest):
            if len(made) == lines - 1:
                return [*made, rest[: max(_fitting(rest, face, width - face.getlength("…")), 1)].rstrip() + "…"]
            blank = rest.rfind(" ", 0, fits + 1)
            fits = blank if blank > 0 else fits
        made.append(rest[:fits].rstrip())
        rest = rest[fits:].lstrip()
    return made


def _fitting(text: str, face: Font, width: float) -> int:
    """How many characters fit, at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if face.getlength(text[:middle]) <= width:
            low = middle
        else:
            high = middle - 1
    return low
