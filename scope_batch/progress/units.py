"""Numbers and prompts as people read them."""

from __future__ import annotations


def size(count: int) -> str:
    """Bytes with a binary unit: 999 B, 1.2 MiB."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def span(seconds: float) -> str:
    """A duration: 0.8 s, 42 s, 3:05, 2:00:00."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def shortened(text: str, width: int) -> str:
    """`text` on one line of at most `width` characters, control characters made harmless."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= width else line[: max(0, width - 1)].rstrip() + "…"
