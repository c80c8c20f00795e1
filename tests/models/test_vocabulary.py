"""A word that the tiny models cannot draw is named, once."""

from __future__ import annotations

from scope_batch.models.tiny.tokenizer import TOKEN_WORDS
from scope_batch.models.tiny.vocabulary import KNOWN_WORDS, unknown_words, unknown_words_warning


def test_all_words_of_the_vocabulary_are_tokens() -> None:
    assert set(TOKEN_WORDS) >= KNOWN_WORDS


def test_only_unknown_words_are_named_each_once() -> None:
    texts = ["a Red robot, jumping in a meadow!", "the ROBOT by a stormy sea"]
    assert unknown_words(texts) == ["robot", "stormy"]


def test_known_words_give_no_warning() -> None:
    assert unknown_words_warning(["A hot-air balloon, at sunset.", ""]) is None


def test_a_long_list_of_unknown_words_is_cut() -> None:
    warning = unknown_words_warning([" ".join(f"w{number}" for number in range(20))])
    assert warning is not None and "w7, ..." in warning and "w8" not in warning
