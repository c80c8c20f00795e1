"""Tests the diagnostics of prompts whose texts or weights have no effect, or another one than expected."""

from __future__ import annotations

from typing import Any

import pytest

from tests.plan.helpers import plan


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_prompt_is_a_warning(text: str) -> None:
    assert plan(prompt=text).warnings == ("prompt: is empty, so the picture has no prompt",)
    (warning,) = plan({"chunk": 1, "text": text}).warnings
    assert warning == "chunk_specs[0].text: is empty, so the picture has no prompt"
    (warning,) = plan(prompt=[{"text": "a"}, {"text": text}]).warnings
    assert warning == "prompt[1]: is empty, so the picture has no prompt"


@pytest.mark.parametrize(
    ("prompt", "note"),
    [
        ([{"text": "a", "weight": 0.3}], "prompt: weight has no effect: there is only one prompt"),
        ([{"text": "a"}, {"text": "b", "weight": 0}], "prompt[1] has no effect: its weight is 0"),
        ("(a cat:1.2), rain",
         "prompt: (a cat:1.2) is not a weight, it is read as plain words (prompts may have a weight)"),
    ],
)  # fmt: skip
def test_a_weight_without_effect_is_noted(prompt: Any, note: str) -> None:
    assert plan(prompt=prompt).notes == (note,)


def test_a_lora_inside_a_text_is_a_warning() -> None:
    (warning,) = plan({"chunk": 1, "prompts": [{"text": "rain <lora:film:0.8>"}]}).warnings
    assert warning == (
        "chunk_specs[0].prompts: <lora:film:0.8> does not load a LoRA, it is read as plain words "
        "(lora_scales loads one)"
    )


@pytest.mark.parametrize("text", ["a cat (at 10:30)", "a cat [grey]", "16:9 frame", "a < b: c"])
def test_plain_words_need_no_remark(text: str) -> None:
    assert plan(prompt=text).notes == plan(prompt=text).warnings == ()
