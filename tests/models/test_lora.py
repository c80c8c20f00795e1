from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_wan_lora_to_diffusers
from safetensors.torch import load_file
from torch import Tensor

from scope_batch.errors import JobError
from scope_batch.models.checkpoint import read_shapes
from scope_batch.models.keys import to_diffusers_transformer
from scope_batch.models.lora.header import read_lora_layout
from scope_batch.models.lora.weights import Lora, merged, read_builtin_lora, read_lora

from .helpers import CPU, LORA, changed
from .lora_files import FFN, WIDTH, pair, random, write

Q, MODULE = "diffusion_model.blocks.0.self_attn.q", "blocks.0.attn1.to_q"


def read(path: Path) -> Lora:
    return read_lora(read_lora_layout(path))


def delta(lora: Lora, key: str = f"{MODULE}.weight", *shape: int, scale: float = 1.0) -> Tensor:
    return merged(key, torch.zeros(shape or (WIDTH, WIDTH)), [(lora, scale)], CPU)


def product(tensors: dict[str, Tensor], name: str = Q) -> Tensor:
    return tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.safetensors"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_delta_is_b_a_in_float32(file: Path, dtype: torch.dtype) -> None:
    tensors = {key: half.to(dtype) for key, half in pair(Q).items()}
    want = product({key: half.float() for key, half in tensors.items()})
    assert torch.allclose(delta(read(write(file, tensors))), want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("alpha", "factor"), [(4.0, 1.0), (2.0, 0.5), (8.0, 2.0), (-1.0, -0.25)])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_alpha_over_rank(file: Path, alpha: float, factor: float, shape: tuple[int, ...]) -> None:
    tensors = pair(Q)
    lora = read(write(file, {**tensors, f"{Q}.alpha": torch.full(shape, alpha)}))
    assert torch.allclose(delta(lora), factor * product(tensors), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "a", "b"),
    [
        ("lora_unet_blocks_0_self_attn_q", "lora_down", "lora_up"),
        (f"transformer.{MODULE}", "lora_A", "lora_B"),
        ("base_model.model.blocks.0.self_attn.q", "lora_A.default", "lora_B.default"),
        (MODULE, "lora.down", "lora.up"),
    ],
    ids=["kohya", "diffusers", "peft", "old diffusers"],
)
def test_alpha_counts_in_every_naming(file: Path, name: str, a: str, b: str) -> None:
    down, up = pair(Q).values()
    tensors = {f"{name}.{a}.weight": down, f"{name}.{b}.weight": up, f"{name}.alpha": torch.tensor(2.0)}
    assert torch.allclose(delta(read(write(file, tensors))), 0.5 * up @ down, atol=1e-6)


def test_each_module_has_its_own_rank_and_alpha(file: Path) -> None:
    k = Q.removesuffix("q") + "k"
    small, large = pair(Q, rank=2), pair(k, rank=16, seed=5)
    lora = read(write(file, {**small, **large, f"{k}.alpha": torch.tensor(4.0)}))
    assert torch.allclose(delta(lora), product(small), atol=1e-6)
    assert torch.allclose(delta(lora, "blocks.0.attn1.to_k.weight"), 0.25 * product(large, k), atol=1e-6)


def test_alpha_that_diffusers_wrote_into_the_metadata(file: Path) -> None:
    tensors = pair(f"transformer.{MODULE}") | pair("transformer.blocks.0.attn2.to_q")
    settings = {
        "transformer.r": 4,
        "transformer.lora_alpha": 8,
        "transformer.alpha_pattern": {"^blocks.0.attn2.to_q": 2},
    }
    lora = read(write(file, tensors, lora_adapter_metadata=json.dumps(settings)))
    assert {name: made.factor for name, made in lora.pairs.items()} == {MODULE: 2.0, "blocks.0.attn2.to_q": 0.5}


def test_alpha_that_peft_wrote_beside_the_file(tmp_path: Path) -> None:
    settings = {"r": 4, "lora_alpha": 8, "use_rslora": True}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    tensors = pair("base_model.model.blocks.0.self_attn.q")
    assert read(write(tmp_path / "adapter_model.safetensors", tensors)).pairs[MODULE].factor == 4.0
    assert read(write(tmp_path / "other.safetensors", tensors)).pairs[MODULE].factor == 1.0


def test_differences_are_scaled_without_alpha(file: Path) -> None:
    bias, norm, table = random(WIDTH), random(WIDTH, seed=1), random(1, 6, WIDTH)
    tensors = {
        **pair(Q),
        f"{Q}.alpha": torch.tensor(1.0),
        f"{Q}.diff_b": bias,
        "diffusion_model.blocks.0.norm3.diff": norm,
        "diffusion_model.blocks.0.modulation.diff": table,
        "diffusion_model.blocks.0.self_attn.norm_q.diff": torch.zeros(WIDTH),
    }
    lora = read(write(file, tensors))
    assert torch.equal(delta(lora, f"{MODULE}.bias", WIDTH, scale=0.5), 0.5 * bias)
    assert torch.equal(delta(lora, "blocks.0.norm2.weight", WIDTH, scale=0.5), 0.5 * norm)
    assert torch.equal(delta(lora, "blocks.0.scale_shift_table", 1, 6, WIDTH), table)
    assert set(lora.diffs) == {f"{MODULE}.bias", "blocks.0.norm2.weight", "blocks.0.scale_shift_table"}


def test_bias_of_b_is_scaled_with_alpha(file: Path) -> None:
    bias = random(WIDTH)
    tensors = {**pair(Q), f"{Q}.lora_B.bias": bias, f"{Q}.alpha": torch.tensor(2.0), f"{Q}.diff_b": bias.clone()}
    assert torch.allclose(delta(read(write(file, tensors)), f"{MODULE}.bias", WIDTH), 1.5 * bias)


def test_convolution(file: Path) -> None:
    a, b = random(4, 16, 1, 2, 2), random(WIDTH, 4, 1, 1, 1)
    lora = read(write(file, {"patch_embedding.lora_down.weight": a, "patch_embedding.lora_up.weight": b}))
    got = delta(lora, "patch_embedding.weight", WIDTH, 16, 1, 2, 2)
    assert torch.allclose(got, torch.einsum("or...,rithw->oithw", b[:, :, 0, 0, 0], a), atol=1e-6)


def test_layers_saved_as_convolutions(file: Path) -> None:
    tensors = pair(Q)
    lora = read(write(file, {key: half[:, :, None, None] for key, half in tensors.items()}))
    assert torch.allclose(delta(lora), product(tensors), atol=1e-6)


@pytest.mark.parametrize("name", ["style", "style_alpha", "style_downup"])
def test_key_names_agree_with_diffusers_converter(parity_models: Path, name: str) -> None:
    path = parity_models / f"lora/{name}.safetensors"
    theirs = _convert_non_diffusers_wan_lora_to_diffusers(load_file(path))
    ours = read(path)
    assert {f"transformer.{module}.lora_A.weight" for module in ours.pairs} < set(theirs)
    for module, made in ours.pairs.items():
        want = theirs[f"transformer.{module}.lora_B.weight"] @ theirs[f"transformer.{module}.lora_A.weight"]
        assert torch.allclose(made.factor * made.b @ made.a, want, atol=1e-6)


def test_prefix_that_every_key_has(file: Path) -> None:
    tensors = pair("model.diffusion_model.blocks.0.ffn.0", out=FFN)
    assert set(read(write(file, tensors)).pairs) == {"blocks.0.ffn.net.0.proj"}
    assert set(read(write(file, {"model.head.head.diff_b": random(64)})).diffs) == {"proj_out.bias"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({f"{Q}.lora_B.weight": torch.zeros(WIDTH, 4)}, "every lora_B or alpha is zero"),
        ({f"{Q}.alpha": torch.tensor(0.0)}, "or alpha is zero, so it would change nothing"),
        ({f"{Q}.lora_A.weight": torch.full((4, WIDTH), float("nan"))}, "holds NaN or Inf"),
        ({f"{Q}.lora_B.weight": torch.full((WIDTH, 4), float("inf"))}, "holds NaN or Inf"),
        ({f"{Q}.diff_b": torch.full((WIDTH,), float("nan"))}, "holds NaN or Inf"),
        ({f"{Q}.alpha": torch.tensor(float("nan"))}, f"{Q}.alpha is nan"),
    ],
)
def test_values_that_cannot_be(file: Path, change: dict[str, Tensor], message: str) -> None:
    with pytest.raises(JobError, match=message):
        read(write(file, pair(Q) | change))


def test_a_lora_with_only_a_bias_has_an_effect(file: Path) -> None:
    lora = read(write(file, {**pair(Q), f"{Q}.lora_B.weight": torch.zeros(WIDTH, 4), f"{Q}.diff_b": random(WIDTH)}))
    assert set(lora.diffs) == {f"{MODULE}.bias"}


def test_the_builtin_lora_has_factor_1_at_any_alpha(parity_models: Path, tmp_path: Path) -> None:
    def add_alpha(state: dict[str, Tensor]) -> None:
        state["base_model.model.blocks.0.self_attn.q.alpha"] = torch.tensor(1.0)

    files = changed(parity_models, tmp_path / "models", LORA, add_alpha)
    shapes = to_diffusers_transformer(read_shapes(files.backbone))
    lora = read_builtin_lora(files, shapes)
    assert lora is not None and {made.factor for made in lora.pairs.values()} == {1.0}


def test_the_builtin_lora_must_fit_completely(parity_models: Path, tmp_path: Path) -> None:
    files = changed(
        parity_models, tmp_path / "models", LORA, lambda state: state.update(pair("blocks.9.ffn.0", out=FFN))
    )
    with pytest.raises(
        JobError, match=r"lora.pt: the pipeline's own LoRA must fit completely, but has parts that do not: 1 not in"
    ):
        read_builtin_lora(files, to_diffusers_transformer(read_shapes(files.backbone)))
