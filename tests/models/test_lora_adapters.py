from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel, WanVACETransformer3DModel
from torch import Tensor

from scope_batch.engine.lora_scales import LoraScales
from scope_batch.models import modules
from scope_batch.models.folder import find_models
from scope_batch.models.lora.adapters import BUILTIN_ADAPTER, ChangedParameters, adapter_name, attach
from scope_batch.models.lora.weights import Lora, read_loras
from scope_batch.models.modules import BuiltinLora

from .helpers import CPU, longlive
from .lora_files import FFN, WIDTH, pair, random, write

load_transformer = partial(modules.load_transformer, kind=WanTransformer3DModel, dtype=torch.float32, device=CPU)


def everything() -> dict[str, Tensor]:
    """Build pairs of many ranks and alphas, inside and outside blocks, a convolution, and all kinds of differences."""
    q, ffn = "diffusion_model.blocks.1.self_attn.q", "diffusion_model.blocks.2.ffn.0"
    return {
        **pair(q, rank=2),
        f"{q}.alpha": torch.tensor(1.0),
        f"{q}.diff_b": random(WIDTH),
        **pair(ffn, out=FFN, rank=16),
        f"{ffn}.alpha": torch.tensor(4.0),
        **pair("diffusion_model.blocks.3.cross_attn.v", rank=4),
        **pair("diffusion_model.text_embedding.0", inp=4096, rank=3),
        **pair("diffusion_model.time_embedding.2", rank=3),
        **pair("diffusion_model.time_projection.1", out=6 * WIDTH, rank=5),
        **pair("diffusion_model.head.head", out=64),
        "diffusion_model.patch_embedding.lora_A.weight": random(4, 16, 1, 2, 2),
        "diffusion_model.patch_embedding.lora_B.weight": random(WIDTH, 4, 1, 1, 1),
        "diffusion_model.patch_embedding.diff_b": random(WIDTH),
        "diffusion_model.blocks.0.norm3.diff": random(WIDTH),
        "diffusion_model.blocks.0.modulation.diff": random(1, 6, WIDTH),
        "diffusion_model.blocks.2.self_attn.o.diff_b": random(WIDTH),
        "diffusion_model.blocks.2.self_attn.k.diff": random(WIDTH, WIDTH),
    }


@torch.no_grad()
def forward(model: Any) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 16, 2, 8, 8, generator=generator)
    text = torch.randn(1, 5, 4096, generator=generator)
    out: Tensor = model(latents, torch.tensor([500.0]), text, return_dict=False)[0]
    return out


def error(got: Tensor, want: Tensor) -> float:
    return float((got - want).norm() / want.norm())


@pytest.fixture
def loras(parity_models: Path, tmp_path: Path) -> list[Lora]:
    """Read a LoRA with all kinds of parts, and one of the parity cases with the same file name in another folder."""
    path = write(tmp_path / "style.safetensors", everything())
    return read_loras([path, parity_models / "lora/style.safetensors"], longlive(parity_models))


def branched(
    models: Path, loras: list[Lora], builtin: BuiltinLora = "merged", dtype: torch.dtype = torch.float32
) -> tuple[Any, LoraScales]:
    model = load_transformer(longlive(models), builtin_lora=builtin, dtype=dtype)
    return model, LoraScales(model, dict(enumerate(loras)))


@pytest.mark.parametrize("builtin", ["merged", "adapter", "none"])
@pytest.mark.parametrize("scales", [(0.8, -0.5), (0.0, 1.5)])
def test_branches_and_merged_weights_agree(
    parity_models: Path, loras: list[Lora], builtin: BuiltinLora, scales: tuple[float, float]
) -> None:
    model, branches = branched(parity_models, loras, builtin)
    branches.set(scales)
    merge = list(zip(loras, scales, strict=True))
    assert error(
        forward(model), forward(load_transformer(longlive(parity_models), builtin_lora=builtin, merge=merge))
    ) < (1e-4)


@pytest.mark.parametrize("builtin", ["merged", "adapter"])
def test_scales_0_give_the_bits_of_no_lora(parity_models: Path, loras: list[Lora], builtin: BuiltinLora) -> None:
    plain = forward(load_transformer(longlive(parity_models), builtin_lora=builtin))
    model, branches = branched(parity_models, loras, builtin)
    branches.set((0.7, 0.3))
    moved = forward(model)
    branches.set((0.0, 0.0))
    assert torch.equal(forward(model), plain)
    branches.set((0.7, 0.3))
    assert torch.equal(forward(model), moved) and error(moved, plain) > 1e-2


def test_branches_have_the_dtype_of_their_layer(parity_models: Path, loras: list[Lora]) -> None:
    model, branches = branched(parity_models, loras, dtype=torch.bfloat16)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            base = model.get_parameter(f"{name.split('.lora_')[0]}.base_layer.weight")
            assert (parameter.dtype, parameter.device, parameter.requires_grad) == (base.dtype, base.device, False)
    branches.set((1.0, 1.0))
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert forward(model.float()).isfinite().all()


def test_nothing_is_left_on_meta_or_in_training(parity_models: Path, loras: list[Lora]) -> None:
    model, _ = branched(parity_models, loras, "adapter")
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert not any(module.training for module in model.modules())


def test_attaching_logs_nothing(parity_models: Path, loras: list[Lora], caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        branched(parity_models, loras, "adapter")[1].set((0.5, 0.5))
    assert not caplog.records


def test_a_branch_of_the_head_does_not_change_vace(
    parity_models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Both names end with `proj_out`."""
    files = find_models("longlive", str(parity_models), vae_type="lightvae", vace=True)
    model = load_transformer(files, kind=WanVACETransformer3DModel)
    (head,) = read_loras([write(tmp_path / "head.safetensors", pair("diffusion_model.head.head", out=64))], files)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attach(model, head, "head")
    assert {name.split(".lora_")[0] for name, _ in model.named_parameters() if ".lora_" in name} == {"proj_out"}
    assert not caplog.records


@pytest.mark.parametrize("stem", ["style", "style.v1.2", "my style - final", "ünï", "builtin", "-"])
def test_adapter_names_are_unique_and_plain(stem: str) -> None:
    names = {adapter_name(i, Lora(Path(f"/{i}/{stem}.safetensors"), {}, {})) for i in range(3)}
    assert len(names) == 3 and all(name.isidentifier() for name in names) and BUILTIN_ADAPTER not in names


def test_a_files_name_may_look_like_a_part_of_peft(parity_models: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "lora_A.weight base_layer.lora_B (1).safetensors", everything())
    files = longlive(parity_models)
    odd = read_loras([path], files)
    model, branches = branched(parity_models, odd, "adapter")
    branches.set((0.5,))
    assert error(forward(model), forward(load_transformer(files, merge=[(odd[0], 0.5)]))) < 1e-4


def test_weights_on_their_way_to_the_device_are_not_changed_under_its_hands(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, order = torch.nn.Linear(2, 2).requires_grad_(False), list[str]()
    moved = ChangedParameters(layer, [Lora(Path("a"), pairs={}, diffs={"bias": torch.ones(2)})])
    before = layer.bias.clone()
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: order.append("old" if layer.bias.equal(before) else "new"))
    moved.set([1.0])
    assert order == []
    before = layer.bias.clone()
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda _: True)
    moved.set([2.0])
    assert order == ["old"] and not layer.bias.equal(before)
