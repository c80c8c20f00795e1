"""`models: random`: the published shapes, filled on loading."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scope_batch.errors import UnavailableError
from scope_batch.job import load_job
from scope_batch.models import published
from scope_batch.models.checkpoint import read_header
from scope_batch.models.folder import RANDOM, find_models, tokenizer_folder
from scope_batch.models.identity import model_digests
from scope_batch.models.shapes_file import draw, shapes_text
from scope_batch.models.sizes import TINY_SIZES, VAES, WAN_1_3B, WAN_14B, model_sizes, umt5_bytes, weights_of
from scope_batch.render.chunk_stream import render_chunks

SMALL_TEXT = {**published._UMT5_XXL, "vocab_size": 600, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in read_header(path).items()}


@pytest.mark.parametrize(("pipeline", "sizes"), [("longlive", WAN_1_3B), ("krea-realtime-video", WAN_14B)])
def test_the_shapes_are_those_of_the_published_files(pipeline: str, sizes: published.ModelSizes) -> None:
    files = find_models(pipeline, RANDOM, vace=True)
    assert files.vace is not None and files.builtin_lora is None
    assert weights_of(shapes(files.backbone)) == sizes.backbone.weights
    assert weights_of(shapes(files.vace)) == sizes.vace
    assert sum(torch.Size(shape).numel() for shape in shapes(files.vae).values()) == VAES["wan"][1]


def test_the_text_encoder_takes_the_published_bytes() -> None:
    wan_names = {
        key.replace("relative_attention_bias", "pos_embedding")
        .replace(".wo.", ".fc2.")
        .replace("shared", "token_embedding"): shape
        for key, shape in shapes(find_models("longlive", RANDOM).text_encoder).items()
    }
    assert umt5_bytes(wan_names) == WAN_1_3B.text_encoder_bytes


def test_the_word_is_no_folder() -> None:
    assert load_job({"prompt": "a"}, models=RANDOM).models == RANDOM
    tokenizer = tokenizer_folder("longlive", RANDOM)
    assert tokenizer is not None and tokenizer == find_models("longlive", RANDOM).tokenizer and tokenizer.is_dir()
    assert model_digests("longlive", RANDOM) == {"models": "random, version 1", "vae_type": "wan"}
    sizes = model_sizes("longlive", RANDOM, "wan", vace=True)
    assert sizes == WAN_1_3B


def test_a_tiny_auto_encoder_is_refused() -> None:
    with pytest.raises(UnavailableError, match="models: random has no vae_type tae; allowed: wan, lightvae"):
        find_models("longlive", RANDOM, vae_type="tae")


def test_numbers_keep_a_signal_alive_and_are_the_same_twice(tmp_path: Path) -> None:
    path = tmp_path / "some.shapes"
    tensors = {"a.weight": torch.empty(64, 256), "norm1.weight": torch.empty(8), "a.bias": torch.empty(8)}
    path.write_text(shapes_text(tensors | {"b.weight": torch.empty(4, 4, dtype=torch.float8_e4m3fn)}))
    drawn = draw(path, torch.device("cpu"))
    assert drawn["a.weight"].std() == pytest.approx(1 / 16, rel=0.05)
    assert (drawn["norm1.weight"] == 1).all() and (drawn["a.bias"] == 0).all()
    assert drawn["b.weight"].dtype == torch.float8_e4m3fn
    assert torch.equal(drawn["a.weight"], draw(path, torch.device("cpu"))["a.weight"])


def test_they_render_as_files_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCOPE_BATCH_CACHE", str(tmp_path))
    monkeypatch.setattr(published, "WAN_1_3B", replace(TINY_SIZES, vace_blocks=2))
    monkeypatch.setattr(published, "_UMT5_XXL", SMALL_TEXT)
    fields = {"prompt": "a cat", "num_frames": 21, "height": 64, "width": 64, "vae_type": "lightvae"}
    chunks = list(render_chunks(load_job(fields, models=RANDOM)))
    assert [len(chunk.frames) for chunk in chunks] == [9, 12]
    assert all(chunk.frames.std() > 1 for chunk in chunks)
