"""What is worth saying about the texts and weights of a job's prompts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from scope_batch.plan.remarks import Remarks, place

if TYPE_CHECKING:
    from scope_batch.job import Job

Texts = tuple[tuple[str, float], ...]
_LORA = re.compile(r"<(?:lora|lyco|hypernet):[^<>]*>", re.IGNORECASE)
_EMPHASIS = re.compile(r"[(\[][^()\[\]]+:\d*\.\d+[)\]]")
"""(a cat:1.2) of ComfyUI and A1111, [a cat:0.5]."""


def check_prompts(job: Job, remarks: Remarks) -> None:
    for where, texts in _prompts_of(job):
        for index, (text, weight) in enumerate(texts):
            one = where if len(texts) == 1 else f"{where}[{index}]"
            _check_text(one, text, remarks)
            if weight == 0:
                remarks.notes.append(f"{one} has no effect: its weight is 0")
            elif len(texts) == 1 and weight != 1:
                remarks.notes.append(f"{one}: weight has no effect: there is one prompt, which counts in full")


def _check_text(where: str, text: str, remarks: Remarks) -> None:
    if not text.strip():
        remarks.warnings.append(f"{where}: is empty, so no words lead the picture")
    if found := _LORA.search(text):
        remarks.warnings.append(f"{where}: {found[0]} loads no LoRA, it counts as plain words (lora_scales loads one)")
    if found := _EMPHASIS.search(text):
        remarks.notes.append(
            f"{where}: {found[0]} weighs nothing, it counts as plain words (prompts may have a weight)"
        )


def _prompts_of(job: Job) -> Iterator[tuple[str, Texts]]:
    """(place, texts with their weights) of every field that holds prompts."""
    yield place(job, "prompt"), tuple((prompt.text, prompt.weight) for prompt in job.prompt)
    for index, entry in enumerate(job.chunk_specs):
        if entry.text is not None:
            yield place(job, "chunk_specs", index, "text"), ((entry.text, 1.0),)
        for field in ("prompts", "transition_target_prompts"):
            if (prompts := getattr(entry, field)) is not None:
                texts = tuple((prompt.text, prompt.weight) for prompt in prompts)
                yield place(job, "chunk_specs", index, field), texts
