"""Writes prompts for scenes.

A prompt names some of a scene's features in any order, with other words and punctuation in between. Features that it
does not name are the usual ones of its noun (`scenes.usual`). Add phrases to `scope_batch.models.tiny.vocabulary`,
and their words to `words.txt` beside it.
"""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor

from scope_batch.models.tiny.tokenizer import PIECES, TOKEN_WORDS, build
from scope_batch.models.tiny.vocabulary import KNOWN_WORDS, PHRASES

from .scenes import CHOICES, Scenes, usual

tokenizer = build
__all__ = ["PIECES", "TOKENS", "prompt_of", "prompts_of", "token_ids", "tokenizer"]

TOKENS = 24
"""Length of the longest training prompt, including the end token."""

_BETWEEN = (",", ".", "and", "with", "of", "the", "a", "video", "beautiful", "cinematic", "detailed", "view", "scene")

_OTHER_WORDS = tuple(word for word in TOKEN_WORDS if word not in KNOWN_WORDS)


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
