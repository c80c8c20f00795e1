"""Encodes prompts, each text once and without the others, and caches the embeddings in memory and on disk.

Only the rows of a prompt's own tokens are stored; the zero rows up to 512 are added on reading. A job whose prompts are
all on disk never loads the text encoder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load, save
from torch import Tensor

from scope_batch.core import geometry
from scope_batch.engine.device import environment
from scope_batch.errors import JobError
from scope_batch.events import Report, silent
from scope_batch.files.cache import cache_folder, file_fingerprint, read_sealed, write_sealed
from scope_batch.models.folder import ModelFiles
from scope_batch.models.modules import load_text_encoder, load_tokenizer
from scope_batch.models.prompt_text import clean, kept_of, too_long


class PromptEncoder:
    """Returns embeddings of texts that `prepare` has encoded. Only `prepare` loads the text encoder onto the device.

    expected  texts of later jobs: they are encoded, to the disk alone, when the encoder is loaded for another text.
    """

    def __init__(self, files: ModelFiles, device: torch.device) -> None:
        self._files, self._device = files, device
        self._rows: dict[str, Tensor] = {}
        self.expected: tuple[str, ...] = ()

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._files)

    def prepare(self, texts: Iterable[str], report: Report = silent) -> None:
        """Encode the texts that are neither in memory nor on disk. Raises JobError for a text of over 512 tokens."""
        tokens = {text: self._tokenize(text) for text in texts if text not in self._rows}
        missing = {}
        for text, ids in tokens.items():
            cached = self._read(text)
            if cached is None:
                missing[text] = ids
            else:
                self._rows[text] = cached
        if missing:
            for text, rows in self._encode(missing | self._later(missing), report):
                if text in missing:
                    self._rows[text] = rows
                with suppress(OSError):  # if the disk is full, the text is encoded again next time
                    write_sealed(self._path(text), save({"rows": rows}))

    def _later(self, missing: Collection[str]) -> dict[str, list[int]]:
        """Return the tokens of the expected texts that are nowhere yet. A text that is too long is left to its job."""
        tokens = {}
        for text in self.expected:
            if text not in self._rows and text not in missing and self._read(text) is None:
                with suppress(JobError):
                    tokens[text] = self._tokenize(text)
        return tokens

    def __call__(self, text: str) -> Tensor:
        """Return the embedding, float32 [512, text_dim] on the host. Rows beyond the text's tokens are zero."""
        rows = self._rows[text]
        padded = torch.zeros(geometry.TEXT_TOKENS, rows.shape[1])
        padded[: len(rows)] = rows
        return padded

    def _tokenize(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(clean(text), verbose=False).input_ids
        if len(ids) > geometry.TEXT_TOKENS:
            raise JobError(too_long(text, len(ids), self._tokenizer.decode(kept_of(ids), skip_special_tokens=True)))
        return ids

    @torch.no_grad()
    def _encode(self, tokens: dict[str, list[int]], report: Report) -> Iterator[tuple[str, Tensor]]:
        # No padding: the encoder would mask padded keys, so the rows are the same, and short prompts take less time.
        encoder = load_text_encoder(self._files, device=self._device, report=report)
        for text, ids in tokens.items():
            states = encoder(torch.tensor([ids], device=self._device)).last_hidden_state
            yield text, states[0].cpu().contiguous()
        del encoder
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @cached_property
    def _identity(self) -> list[str]:
        tokenizer = sorted(p for p in self._files.tokenizer.rglob("*") if p.is_file())
        prints = [file_fingerprint(path) for path in (self._files.text_encoder, *tokenizer)]
        return [*prints, json.dumps(environment(self._device)), transformers.__version__, torch.__version__]

    def _path(self, text: str) -> Path:
        key = json.dumps([clean(text), *self._identity])
        return cache_folder("embeddings") / f"{hashlib.sha256(key.encode()).hexdigest()}.rows"

    def _read(self, text: str) -> Tensor | None:
        content = read_sealed(self._path(text))
        return None if content is None else load(content)["rows"]
