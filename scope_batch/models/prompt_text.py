"""A prompt as the text encoder takes it: cleaned as in training, and of no more than 512 tokens. Torch-free."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from scope_batch.core import geometry
from scope_batch.errors import JobError, ScopeBatchError

TOKENIZER_FILE = "tokenizer.json"
_SURELY_SHORT_BYTES = 400
"""A token stands for at least a byte, so that texts up to here need not be counted."""
_WORDS_SHOWN = 6


def clean(text: str) -> str:
    """Normalise a text as in training: fix mojibake, resolve HTML entities, collapse white space."""
    import ftfy  # most jobs have short prompts only, whose plans need no cleaning

    return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(text)))).strip()


def check_prompts(texts: Iterable[str], tokenizer: Path) -> None:
    """Raise JobError, a line per prompt, for texts of too many tokens. `tokenizer`: its folder.

    Where that holds no `tokenizer.json` that can be read, nothing is checked: the engine does it when it encodes.
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
    except Exception:  # noqa: BLE001  (the library raises no narrower class; the loader tells what is wrong with it)
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
    """The tokens that would be left of too many: the last place is the end token's."""
    return list(ids[: geometry.TEXT_TOKENS - 1])


def too_long(text: str, tokens: int, kept: str) -> str:
    """The message about a prompt of too many tokens, of which `kept` is what would be left."""
    begin, end = (" ".join(words) for words in (text.split()[:_WORDS_SHOWN], kept.split()[-_WORDS_SHOWN:]))
    return (
        f"the prompt {begin[:60] + ' ...'!r} has {tokens} tokens, {geometry.TEXT_TOKENS} are allowed; "
        f"it would be cut after {end[-120:]!r}"
    )
