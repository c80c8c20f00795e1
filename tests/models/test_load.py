from __future__ import annotations

from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel

from scope_batch.errors import JobError
from scope_batch.events import Event, Warned
from scope_batch.models import modules
from scope_batch.models.modules import load_text_encoder, load_tokenizer, load_vae

from .helpers import BACKBONE, CPU, LORA, VAE, changed, longlive

load_transformer = partial(modules.load_transformer, kind=WanTransformer3DModel, dtype=torch.float32, device=CPU)


@torch.no_grad()
def forward(model: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 16, 2, 8, 8, generator=generator)
    text = torch.randn(1, 5, 4096, generator=generator)
    out: torch.Tensor = model(latents, torch.tensor([500.0]), text, return_dict=False)[0]
    return out


def original(folder: Path, path: str = BACKBONE) -> dict[str, torch.Tensor]:
    (state,) = torch.load(folder / path, weights_only=True).values()
    return {key.removeprefix("model."): tensor for key, tensor in state.items()}


def drop(key: str, state: dict[str, torch.Tensor]) -> None:
    del state[key]


def recast(key: str, dtype: torch.dtype, state: dict[str, torch.Tensor]) -> None:
    state[key] = state[key].to(dtype)


def rename(state: dict[str, torch.Tensor]) -> None:
    for key in list(state):
        state[f"net.{key}"] = state.pop(key)


def test_every_weight_is_assigned_to_its_parameter(parity_models: Path) -> None:
    model = load_transformer(longlive(parity_models), builtin_lora="none")
    state = original(parity_models)
    block = model.blocks[2]
    assert torch.equal(block.attn2.to_out[0].weight, state["blocks.2.cross_attn.o.weight"])
    assert torch.equal(block.norm2.weight, state["blocks.2.norm3.weight"])
    assert torch.equal(model.scale_shift_table, state["head.modulation"])
    assert sum(p.numel() for p in model.parameters()) == sum(t.numel() for t in state.values())


def test_merged_equals_adapter(parity_models: Path) -> None:
    merged, adapter, none = (
        forward(load_transformer(longlive(parity_models), builtin_lora=how)) for how in ("merged", "adapter", "none")
    )
    assert (merged - adapter).abs().max() < 1e-5 * merged.abs().max()
    assert (merged - none).abs().max() > 0.1


def test_merge_is_rounded_once(parity_models: Path) -> None:
    model = load_transformer(longlive(parity_models), dtype=torch.bfloat16)
    name = "blocks.1.self_attn.k"
    lora = original(parity_models, LORA)
    a, b = (lora[f"base_model.model.{name}.lora_{half}.weight"] for half in "AB")
    exact = original(parity_models)[f"{name}.weight"] + b @ a
    assert torch.equal(model.blocks[1].attn1.to_k.weight, exact.bfloat16())


def test_parts_that_need_float32_keep_it(parity_models: Path) -> None:
    model = load_transformer(longlive(parity_models), dtype=torch.bfloat16)
    wide = {name for name, tensor in model.named_parameters() if tensor.dtype == torch.float32}
    assert all("time_embedder" in n or "scale_shift_table" in n or "norm2" in n for n in wide)
    assert {"scale_shift_table", "blocks.3.norm2.bias"} <= wide
    assert model.blocks[0].ffn.net[2].weight.dtype == torch.bfloat16


def test_bfloat16_files(model_factory: ModuleType, tmp_path: Path) -> None:
    parts = ["config", "tokenizer", "longlive", "text_encoder", "lightvae"]
    model_factory.make(tmp_path, parts=parts, dtype=torch.bfloat16, fp8_text_encoder=True, layers=2)
    files = longlive(tmp_path)
    assert load_transformer(files).blocks[0].attn1.to_q.weight.dtype == torch.float32
    assert load_vae(files, dtype=torch.float32, device=CPU).dtype == torch.float32
    encoder = load_text_encoder(files, device=CPU)
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    assert load_text_encoder(files, device=CPU, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_fp8_matrices_may_stay_fp8(model_factory: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_factory.make(tmp_path, parts=["text_encoder"], fp8_text_encoder=True)
    files = longlive_without_checks(tmp_path)
    ids = torch.tensor([[5, 6, 7, 1]])
    wide = load_text_encoder(files, device=CPU, dtype=torch.float32)
    monkeypatch.setattr(modules, "_may_stay_fp8", lambda key, tensor, _: modules._is_castable_fp8(key, tensor))
    narrow = load_text_encoder(files, device=CPU, dtype=torch.float32)
    feed_forward = narrow.encoder.block[0].layer[1].DenseReluDense
    assert feed_forward.wi_0.weight.dtype == torch.float8_e4m3fn
    assert feed_forward.wo.weight.dtype == torch.float32
    with torch.no_grad():
        assert torch.equal(wide(ids).last_hidden_state, narrow(ids).last_hidden_state)


def longlive_without_checks(folder: Path) -> Any:
    class Files:
        text_encoder = folder / "WanVideo_comfy/umt5-xxl-enc-fp8_e4m3fn.safetensors"

    return Files


def test_text_encoder_and_tokenizer_fit_each_other(parity_models: Path) -> None:
    files = longlive(parity_models)
    encoder, tokenizer = load_text_encoder(files, device=CPU), load_tokenizer(files)
    ids = tokenizer("a cat walking", return_tensors="pt").input_ids
    with torch.no_grad():
        states = encoder(ids).last_hidden_state
    assert states.shape == (1, 4, 4096)
    assert torch.equal(encoder.encoder.embed_tokens.weight, encoder.shared.weight)
    assert encoder.encoder.embed_tokens.weight.data_ptr() == encoder.shared.weight.data_ptr()


def test_large_text_encoder_is_bfloat16_on_a_cpu(parity_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "FLOAT32_BELOW_BYTES", 1000)
    assert load_text_encoder(longlive(parity_models), device=CPU).dtype == torch.bfloat16


def test_vae_of_a_quarter_of_the_width(parity_models: Path) -> None:
    vae = load_vae(longlive(parity_models), dtype=torch.float32, device=CPU)
    assert vae.config.base_dim == 24
    with torch.no_grad():
        assert vae.decode(torch.randn(1, 16, 2, 2, 2)).sample.shape == (1, 3, 5, 16, 16)


REFUSALS = [
    (BACKBONE, rename, "not a Wan backbone: patch_embedding.weight is missing; its first keys are net."),
    (BACKBONE, partial(drop, "model.blocks.1.ffn.0.weight"), "1 of 123 tensors of the Wan backbone are missing"),
    (BACKBONE, lambda s: s.update({"model.head.head.bias": torch.zeros(3)}), r"proj_out.bias is \[3\], not \[64\]"),
    (BACKBONE, lambda s: s["model.patch_embedding.weight"].zero_(), "patch_embedding.weight is all zeros"),
    (BACKBONE, lambda s: s.update({f"model.x{i}": torch.zeros(1) for i in range(200)}), "200 of 323 keys are unknown"),
    (LORA, lambda s: [t.zero_() for k, t in s.items() if "lora_B" in k], "every lora_B or alpha is zero"),
    (LORA, lambda s: s.update({k: t[:, :-1].clone() for k, t in s.items() if "lora_A" in k}), "made for another model"),
    (LORA, rename, "not a LoRA for Wan: 80 of 80 keys are unknown: net.base_model"),
    (
        LORA,
        partial(drop, "base_model.model.blocks.0.ffn.0.lora_B.weight"),
        "half a pair: base_model.model.blocks.0.ffn.0.lora_A.weight has no lora_B",
    ),
    (
        BACKBONE,
        partial(recast, "model.blocks.0.ffn.0.weight", torch.int8),
        "floats, but blocks.0.ffn.net.0.proj.weight is int8",
    ),
    (LORA, partial(recast, "base_model.model.blocks.0.ffn.0.lora_B.weight", torch.bool), "lora_B.weight is bool"),
    (VAE, partial(recast, "decoder.head.2.bias", torch.complex64), "floats, but decoder.conv_out.bias is complex64"),
    (VAE, partial(drop, "decoder.head.2.bias"), "1 of 194 tensors of the Wan VAE are missing: decoder.conv_out.bias"),
]


@pytest.mark.parametrize(
    ("path", "change", "message"), REFUSALS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_refusals(parity_models: Path, tmp_path: Path, path: str, change: Any, message: str) -> None:
    files = changed(parity_models, tmp_path / "models", path, change)
    with pytest.raises(JobError, match=message) as caught:
        load_transformer(files) if path != VAE else load_vae(files, dtype=torch.float32, device=CPU)
    assert str(tmp_path / "models" / path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lora_is_refused_before_the_backbone_is_read(
    parity_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = changed(parity_models, tmp_path / "models", LORA, rename)
    monkeypatch.setattr(modules, "read_checkpoint", lambda *_, **__: pytest.fail("the backbone was read"))
    with pytest.raises(JobError, match="not a LoRA for Wan"):
        load_transformer(files)


def test_unknown_keys_are_named_and_dropped(parity_models: Path, tmp_path: Path) -> None:
    change = partial(dict.update, **{"model.extra": torch.zeros(1), "model.step": torch.zeros(1)})
    events: list[Event] = []
    load_transformer(changed(parity_models, tmp_path / "m", BACKBONE, lambda s: change(s)), report=events.append)
    (warning,) = [event.message for event in events if isinstance(event, Warned)]
    assert "2 keys" in warning and "extra, step" in warning


@pytest.mark.parametrize(
    "content", ["", "[" * 100_000, "[]", "{}", '{"num_heads": 0}', '{"num_heads": "2"}', '{"num_heads": 3}']
)
def test_bad_config(parity_models: Path, tmp_path: Path, content: str) -> None:
    files = changed(parity_models, tmp_path / "m", LORA, lambda _: None)
    files.config.unlink()
    files.config.write_text(content)
    with pytest.raises(JobError, match=r"num_heads|3 heads|config.json: not a readable JSON file"):
        load_transformer(files)


def test_unreadable_tokenizer(parity_models: Path, tmp_path: Path) -> None:
    files = changed(parity_models, tmp_path / "m", LORA, lambda _: None)
    (files.tokenizer / "tokenizer.json").unlink()
    (files.tokenizer / "tokenizer.json").write_text("{")
    with pytest.raises(JobError, match="not a readable tokenizer folder"):
        load_tokenizer(files)
