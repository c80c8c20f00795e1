"""Writes prompts for scenes, and builds the tokenizer for them.

A prompt names some of a scene's features in any order, with other words and punctuation in between. Features that it
does not name are the usual ones of its noun (`scenes.usual`). Add words and phrases to `PHRASES`.
"""

from __future__ import annotations

import random
import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from scope_batch.models.tiny import tokenizer as tiny_tokenizer

from .scenes import CHOICES, Scenes, usual

TOKENS = 24
"""Length of the longest training prompt, including the end token."""

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

_BETWEEN = (",", ".", "and", "with", "of", "the", "a", "video", "beautiful", "cinematic", "detailed", "view", "scene")
_SPACE = "\u2581"


_MEANINGFUL = {
    word for phrases in PHRASES.values() for names in phrases.values() for name in names for word in name.split()
}


def _vocabulary() -> tuple[str, ...]:
    known = Path(tiny_tokenizer.__file__).with_name("words.txt").read_text("ascii").split()
    return tuple(sorted(_MEANINGFUL | set(known) | {word for word in _BETWEEN if word.isalpha()}))


WORDS = _vocabulary()
_OTHER_WORDS = tuple(word for word in WORDS if word not in _MEANINGFUL)
PIECES = (
    "<pad>", "</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), _SPACE,
    *string.ascii_letters, *string.digits, *string.punctuation, *(_SPACE + word for word in WORDS),
)  # fmt: skip
_SPECIAL, _WORD_COST, _LETTER_COST = 3, 10.0, 8.0


def tokenizer() -> Tokenizer:
    """Build the tokenizer: known words are one token, others are split into letters or bytes; `</s>` is appended."""

    def cost(piece: str) -> float:
        return _LETTER_COST if len(piece) == 1 or piece.startswith("<0x") else _WORD_COST

    scores = [(piece, 0.0 if i < _SPECIAL else -cost(piece)) for i, piece in enumerate(PIECES)]
    result = Tokenizer(models.Unigram(scores, unk_id=2, byte_fallback=True))
    result.normalizer = normalizers.Lowercase()
    result.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE)
    result.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(replacement=_SPACE)])
    result.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return result


def prompt_of(names: dict[str, str], chance: random.Random) -> str:
    """Write a prompt for a scene, short or long, with its features in random order. names: of its features."""
    named = {key: value for key, value in names.items() if value != usual(names["noun"])[key] or chance.random() < 0.4}
    if names["noun"] == "nothing":
        named = {key: names[key] for key in ("ground", "light") if key in named}

    def phrase(key: str) -> str:
        return chance.choice(PHRASES[key][named[key]]) if key in named else ""

    words = {key: phrase(key) for key in PHRASES if key != "noun"}
    parts = [words[key] for key in ("motion", "place", "ground", "light")]
    chance.shuffle(parts)
    if names["noun"] != "nothing":
        article, name = chance.choice(("a", "the", "one", "")), chance.choice(PHRASES["noun"][names["noun"]])
        thing = f"{article} {words['size']} {words['colour']} {name}"
        parts.insert(0 if chance.random() < 0.7 else chance.randrange(4), thing)
    if chance.random() < 0.4:
        for _ in range(chance.randrange(1, 4)):
            parts.insert(chance.randrange(len(parts) + 1), chance.choice(_BETWEEN))
    if chance.random() < 0.1:
        parts.insert(chance.randrange(len(parts) + 1), chance.choice(_OTHER_WORDS))
    return " ".join(" ".join(parts).split()).replace(" ,", ",").replace(" .", ".")


def prompts_of(scenes: Scenes, seed: int) -> list[str]:
    """Write one prompt for each scene."""
    chance = random.Random(seed)
    columns = {key: getattr(scenes, key).tolist() for key in CHOICES}
    return [prompt_of({key: CHOICES[key][columns[key][row]] for key in CHOICES}, chance) for row in range(len(scenes))]


def token_ids(prompts: list[str], splitter: Any) -> Tensor:
    """Return int64 [prompts, TOKENS], 0 beyond a prompt's end. A longer prompt is cut but keeps its end token."""
    rows = torch.zeros(len(prompts), TOKENS, dtype=torch.int64)
    for row, encoding in zip(rows, splitter.encode_batch(prompts), strict=True):
        ids = encoding.ids if len(encoding.ids) <= TOKENS else [*encoding.ids[: TOKENS - 1], 1]
        row[: len(ids)] = torch.tensor(ids)
    return rows
