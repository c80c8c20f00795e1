"""Builds the tokenizer of the tiny models: known words, letters, and bytes for everything else, in lower case."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

_SPECIAL = ("<pad>", "</s>", "<unk>")
"""UMT5's ids: 0, 1, 2."""
_SPACE = "\u2581"

TOKEN_WORDS = (Path(__file__).parent / "words.txt").read_text("ascii").split()
_LETTERS = (*string.ascii_letters, *string.digits, *string.punctuation)
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))

PIECES = (*_SPECIAL, *_BYTES, _SPACE, *_LETTERS, *(_SPACE + word for word in TOKEN_WORDS))
VOCAB = len(PIECES)
assert len(set(PIECES)) == VOCAB

# A whole word costs less than its letters one by one; a space and one letter cost less than two words.
_WORD_COST, _LETTER_COST = 10.0, 8.0


def build() -> Any:
    """Return the tokenizer, a `tokenizers.Tokenizer`. It appends the end token, as UMT5's does."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    scores = [(piece, 0.0 if i < len(_SPECIAL) else -_cost(piece)) for i, piece in enumerate(PIECES)]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=2, byte_fallback=True))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(replacement=_SPACE)])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def save(folder: Path) -> None:
    """Write the tokenizer in the format of transformers."""
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_object=build(), pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(str(folder))


def _cost(piece: str) -> float:
    return _LETTER_COST if len(piece) == 1 or piece in _BYTES else _WORD_COST
