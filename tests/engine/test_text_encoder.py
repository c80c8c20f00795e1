from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scope_batch.core.conditioning import Blend, Prompt, Transition, texts_of
from scope_batch.engine import text_encoder
from scope_batch.engine.text_encoder import PromptEncoder
from scope_batch.errors import JobError
from scope_batch.models.folder import ModelFiles, find_models
from scope_batch.models.modules import load_text_encoder, load_tokenizer

CPU = torch.device("cpu")


def flip_a_bit(content: bytes) -> bytes:
    """Flip a bit of the last number; only a checksum can notice it."""
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.fixture(scope="module")
def files(parity_models: Path) -> ModelFiles:
    return find_models("longlive", str(parity_models), vae_type="lightvae")


def test_every_text_of_a_plan_once() -> None:
    a, b, c = (Blend((Prompt(name),)) for name in "abc")
    both = Blend((Prompt("a", 0.5), Prompt("b", 0.5)))
    assert texts_of([a, both, Transition(b, c, "linear", 0, 2, 0.0), a]) == ["a", "b", "c"]


def test_rows_equal_the_padded_and_masked_encoder(files: ModelFiles) -> None:
    encoder = PromptEncoder(files, CPU)
    encoder.prepare(["a red cat"])
    tokens = load_tokenizer(files)(["a red cat"], padding="max_length", max_length=512, return_tensors="pt")
    model = load_text_encoder(files, device=CPU)
    want = model(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state[0]
    used = int(tokens.attention_mask.sum())
    got = encoder("a red cat")
    assert got.shape == (512, 4096) and not got[used:].any()
    assert torch.allclose(got[:used], want[:used], atol=1e-4)


def test_a_prompt_on_disk_needs_no_encoder(files: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    first = PromptEncoder(files, CPU)
    first.prepare(["a blue dog"])

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the encoder was loaded")

    monkeypatch.setattr(text_encoder, "load_text_encoder", never)
    second = PromptEncoder(files, CPU)
    second.prepare(["a blue dog"])
    assert torch.equal(first("a blue dog"), second("a blue dog"))


def test_an_embedding_serves_only_the_environment_that_computed_it(
    files: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of threads decides about last bits, so that a render would depend on which one ran before it."""
    PromptEncoder(files, CPU).prepare(["a pink dog"])
    assert PromptEncoder(files, CPU)._read("a pink dog") is not None
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert PromptEncoder(files, CPU)._read("a pink dog") is None


def test_expected_texts_are_encoded_with_the_first_one(files: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    monkeypatch.setattr(
        text_encoder, "load_text_encoder", lambda *a, **k: loads.append(1) or load_text_encoder(*a, **k)
    )
    encoder = PromptEncoder(files, CPU)
    encoder.expected = ("a green hat", "a grey hat", "word " * 600)  # the last one is too long
    encoder.prepare(["a green hat"])
    encoder.prepare(["a grey hat"])
    assert len(loads) == 1
    with pytest.raises(JobError, match="512"):
        encoder.prepare(["word " * 600])
    alone = PromptEncoder(files, CPU)
    alone._read = lambda _: None  # type: ignore[method-assign]
    alone.prepare(["a grey hat"])
    assert torch.equal(alone("a grey hat"), encoder("a grey hat"))


@pytest.mark.parametrize("damage", [lambda _: b"cut off", flip_a_bit], ids=["cut off", "one bit"])
def test_a_damaged_embedding_is_computed_again(files: ModelFiles, damage: Callable[[bytes], bytes]) -> None:
    first = PromptEncoder(files, CPU)
    first.prepare(["old lamp"])
    path = first._path("old lamp")
    path.write_bytes(damage(path.read_bytes()))
    second = PromptEncoder(files, CPU)
    second.prepare(["old lamp"])
    assert torch.equal(first("old lamp"), second("old lamp"))


def test_the_message_about_a_long_prompt_shows_the_end_that_fits(files: ModelFiles) -> None:
    with pytest.raises(JobError, match=r"600 tokens, 512 are allowed; it would be cut after 'cat .* cat'"):
        PromptEncoder(files, CPU).prepare(["cat " * 599])


def test_the_longest_prompt_fits(files: ModelFiles) -> None:
    encoder = PromptEncoder(files, CPU)
    encoder.prepare(["dog " * 511])
    assert encoder("dog " * 511)[511].any()
