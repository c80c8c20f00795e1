"""Checks the alpha in a LoRA's settings, and the modules that a key of `alpha_pattern` matches."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from peft.utils.other import get_pattern_key

from scope_batch.errors import JobError
from scope_batch.models.lora.alpha import AlphaRule, alpha_rule

RANK, ALPHA, OTHER = 4, 4, 8
MODULES = ("to_q", "attn1.to_q", "blocks.0.attn1.to_q", "blocks.10.attn1.to_q", "blocks.0.attn1.my_to_q", "xattn1.to_q")


def rule_beside(folder: Path, **alpha_pattern: float) -> AlphaRule:
    """Return the rule of a LoRA in PEFT's two files."""
    (folder / "adapter_config.json").write_text(json.dumps({"lora_alpha": ALPHA, "alpha_pattern": alpha_pattern}))
    return alpha_rule(folder / "adapter_model.safetensors", {})


def chosen(rule: AlphaRule) -> list[str]:
    """Return the modules whose alpha is not the default."""
    return [name for name in MODULES if rule.factor(name, RANK, None) != ALPHA / RANK]


@pytest.mark.parametrize(
    "key",
    ["to_q", "attn1.to_q", "blocks.0.attn1.to_q", r"blocks\.0\.attn1\.to_q", "attn..to_q", "o_q", "none", "to_q$"],
)
def test_a_plain_key_is_for_the_modules_that_peft_finds(tmp_path: Path, key: str) -> None:
    assert chosen(rule_beside(tmp_path, **{key: OTHER})) == [
        name for name in MODULES if get_pattern_key([key], name) == key
    ]


def test_a_key_is_a_name_or_its_end_after_a_dot(tmp_path: Path) -> None:
    assert chosen(rule_beside(tmp_path, to_q=OTHER)) == [n for n in MODULES if n != "blocks.0.attn1.my_to_q"]
    assert chosen(rule_beside(tmp_path, **{"0.attn1.to_q": OTHER})) == ["blocks.0.attn1.to_q"]
    assert chosen(rule_beside(tmp_path, **{"attn..to_q": OTHER})) == list(MODULES[1:4])  # a dot is any character


def test_the_first_key_that_fits_counts(tmp_path: Path) -> None:
    rule = rule_beside(tmp_path, **{"^blocks.0.attn1.to_q": 2, "attn1.to_q": OTHER})
    assert [rule.factor(name, RANK, None) for name in MODULES[:4]] == [1, 2, 0.5, 2]


@pytest.mark.parametrize(
    "key",
    [
        "(([a-z0-9_]+)+[.])+X",
        "(a|a)*b",
        ".*to_q",
        "to_q+",
        "to_?q",
        "to_{1,9}q",
        "to_[qk]",
        "to_q|to_k",
        r"\d",
        "\\",
        "[",
    ],
)
@pytest.mark.parametrize("beside", [True, False])
def test_a_regular_expression_is_refused_in_one_line(tmp_path: Path, key: str, beside: bool) -> None:
    path, metadata = tmp_path / "a.safetensors", json.dumps({"transformer.alpha_pattern": {"to_k": 1, key: OTHER}})
    with pytest.raises(JobError) as caught:
        rule_beside(tmp_path, **{key: OTHER}) if beside else alpha_rule(path, {"lora_adapter_metadata": metadata})
    assert caught.value.problems == (
        f"{tmp_path / 'adapter_config.json' if beside else path}: alpha_pattern: the key {key!r} is a regular "
        "expression; allowed: the name of a module or its last parts, such as 'blocks.0.attn1.to_q' or 'to_q', "
        "one key for each",
    )


def test_a_long_key_is_cut_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=re.escape("...")) as caught:
        rule_beside(tmp_path, **{"(a|a)\n" * 1000: OTHER})
    assert len(str(caught.value)) < 300 + len(str(tmp_path)) and "\n" not in str(caught.value)
