"""Cleans prompts as in training, and refuses those of more than 512 tokens. Torch-free."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from scope_batch.core import geometry
from scope_batch.errors import JobError, ScopeBatchError

TOKENIZER_FILE = "tokenizer.json"
_SURELY_SHORT_BYTES = 400
"""Texts up to this size have at most 512 tokens, because a token has at least one byte."""
_WORDS_SHOWN = 6


def clean(text: str) -> str:
    """Normalise a text as in training: fix mojibake, resolve HTML entities, collapse white space."""
    import ftfy  # takes time to import, and most plans have only short prompts, which need no cleaning

    return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(text)))).strip()


def check_prompts(texts: Iterable[str], tokenizer: Path) -> None:
    """Raise JobError, with one line per prompt, for texts of more than 512 tokens.

    tokenizer  folder of the tokenizer. If it has no readable `tokenizer.json`, nothing is checked here; the engine
               checks again when it encodes the prompts.
    """
    long = [text for text in dict.fromkeys(texts) if len(text.encode("utf-8", "replace")) > _SURELY_SHORT_BYTES]
    file = tokenizer / TOKENIZER_FILE
    if not long or not file.is_file():
        return
    from tokenizers import Tokenizer

    try:
        encode = Tokenizer.from_file(str(file))
    except ScopeBatchError:  # a signal
        raise
    except Exception:  # noqa: BLE001  (the library raises no narrower class; the loader reports the fault)
        return
    encode.no_truncation()
    problems = []
    for text in long:
        ids = encode.encode(clean(text)).ids
        if len(ids) > geometry.TEXT_TOKENS:
            problems.append(too_long(text, len(ids), encode.decode(kept_of(ids))))
    if problems:
        raise JobError(*problems)


def kept_of(ids: Sequence[int]) -> list[int]:
    """Return the tokens that a cut to 512 would keep: 511, because the end token takes the last place."""
    return list(ids[: geometry.TEXT_TOKENS - 1])


def too_long(text: str, tokens: int, kept: str) -> str:
    """Return the message about a prompt of too many tokens. kept: the text that a cut would keep."""
    begin, end = (" ".join(words) for words in (text.split()[:_WORDS_SHOWN], kept.split()[-_WORDS_SHOWN:]))
    return (
        f"the prompt {begin[:60] + ' ...'!r} has {tokens} tokens, {geometry.TEXT_TOKENS} are allowed; "
        f"it would be cut after {end[-120:]!r}"
    )
