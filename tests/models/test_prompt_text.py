from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scope_batch.errors import JobError
from scope_batch.models.folder import tokenizer_folder
from scope_batch.models.layout import TOKENIZER
from scope_batch.models.prompt_text import check_prompts, clean
from scope_batch.models.tiny.build import tiny_models_folder


@pytest.fixture(scope="module")
def tokenizer() -> Path:
    return tiny_models_folder() / TOKENIZER.local


def test_cleaning_resolves_entities_and_white_space() -> None:
    assert clean("  a &amp;amp; b\n\tc ") == "a & b c"
    assert clean("schÃ¶n") == "schön"


def test_every_prompt_of_too_many_tokens_is_named_with_the_end_that_fits(tokenizer: Path) -> None:
    with pytest.raises(JobError) as caught:
        check_prompts(["red cat " * 300, "a dog", "blue " * 511, "dog " * 600], tokenizer)
    cats, dogs = caught.value.problems
    assert cats.startswith("the prompt 'red cat red cat red cat ...' has 601 tokens, 512 are allowed; it would be cut")
    assert cats.endswith("after 'red cat red cat red'") or "cut after" in cats
    assert "'dog dog dog dog dog dog ...' has 601 tokens" in dogs


def test_without_a_tokenizer_nothing_is_checked(tmp_path: Path) -> None:
    check_prompts(["red cat " * 300], tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    check_prompts(["red cat " * 300], tmp_path)


def test_short_prompts_do_not_open_the_tokenizer(tokenizer: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from scope_batch.models.prompt_text import check_prompts; "
        f"check_prompts(['a cat'], Path({str(tokenizer)!r})); assert 'tokenizers' not in sys.modules; "
        f"check_prompts(['a cat ' * 99], Path({str(tokenizer)!r})); "
        "assert 'tokenizers' in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_path_of_the_tokenizer(tmp_path: Path, tokenizer: Path) -> None:
    assert tokenizer_folder("longlive", "tiny") == tokenizer
    assert tokenizer_folder("longlive", str(tmp_path)) == tmp_path / TOKENIZER.local
    assert tokenizer_folder("slate", None) is None
