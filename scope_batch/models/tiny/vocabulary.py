"""Lists the phrases that the tiny models were trained to draw, by feature of a scene. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Iterable

PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "noun": {
        "ball": ("ball", "sphere"), "box": ("box", "square", "crate"), "star": ("star",), "heart": ("heart",),
        "boat": ("boat", "ship", "sailing boat"), "house": ("house", "home", "cottage"), "tree": ("tree",),
        "fish": ("fish",), "balloon": ("balloon", "hot air balloon"), "car": ("car", "truck"),
        "flower": ("flower", "rose", "sunflower"), "bird": ("bird", "eagle", "owl"),
        "cat": ("cat", "kitten"), "butterfly": ("butterfly",), "umbrella": ("umbrella",),
        "mushroom": ("mushroom",), "rocket": ("rocket",), "snowman": ("snowman",),
        "cup": ("cup",), "turtle": ("turtle",), "nothing": ("",),
    },
    "colour": {
        "red": ("red", "crimson"), "orange": ("orange",), "yellow": ("yellow", "golden"), "green": ("green",),
        "blue": ("blue",), "purple": ("purple", "violet"), "pink": ("pink",), "white": ("white", "silver"),
    },
    "size": {"small": ("small", "tiny", "little"), "medium": ("",), "big": ("big", "large", "huge", "giant")},
    "place": {
        "left": ("on the left", "at the left side"), "middle": ("", "in the middle", "in the center"),
        "right": ("on the right", "at the right side"),
    },
    "motion": {
        "still": ("standing still", "resting", "not moving"),
        "left": ("moving left", "moving to the left", "going left", "drifting to the left"),
        "right": ("moving right", "moving to the right", "going right", "drifting to the right"),
        "up": ("rising", "moving up", "going up", "flying up"),
        "bounce": ("bouncing", "jumping", "bouncing up and down"),
        "spin": ("spinning", "rotating", "turning"),
        "orbit": ("orbiting", "circling", "moving in a circle"),
        "grow": ("growing", "growing and shrinking", "pulsing"),
    },
    "ground": {
        "meadow": ("in a meadow", "on the grass", "in a field", "in a garden", "in the hills"),
        "sea": ("on the sea", "in the sea", "over the ocean", "on the water", "in the waves", "on a lake"),
        "snow": ("in the snow", "on the ice", "in winter", "in the snowy mountains"),
        "desert": ("in the desert", "on the sand", "over the dunes"),
        "city": ("in the city", "in the town", "on the street", "in a city street"),
    },
    "light": {
        "day": ("by day", "on a sunny day", "in bright daylight"),
        "night": ("at night", "in the dark", "under the moon", "by moonlight"),
        "sunset": ("at sunset", "at sunrise", "at dawn", "at dusk", "in the evening"),
    },
}  # fmt: skip
"""Phrase by feature and value; an empty phrase is what a prompt means that does not name the feature."""

KNOWN_WORDS = frozenset(
    word for phrases in PHRASES.values() for names in phrases.values() for name in names for word in name.split()
)
_WITHOUT_MEANING = {"an", "one", "of", "with", "is", "it"}
_WORDS_SHOWN = 8


def unknown_words(texts: Iterable[str]) -> list[str]:
    """Return the words of `texts` that the tiny models cannot draw, each once, in lower case."""
    words = dict.fromkeys(word for text in texts for word in re.findall(r"\w+(?:['’]\w+)*", text.lower()))
    return [word for word in words if word not in KNOWN_WORDS and word not in _WITHOUT_MEANING]


def unknown_words_warning(texts: Iterable[str]) -> str | None:
    """Return one line about the words of `texts` that the tiny models cannot draw; None without such words."""
    unknown = unknown_words(texts)
    if not unknown:
        return None
    shown = ", ".join(unknown[:_WORDS_SHOWN]) + (", ..." if len(unknown) > _WORDS_SHOWN else "")
    return f"models: tiny does not know: {shown} (`scope-batch help models` lists the words that it knows)"
