from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from scope_batch.engine.vace_transformer import CausalVaceWan
from scope_batch.errors import JobError, UnavailableError
from scope_batch.events import Event, Warned
from scope_batch.models import modules
from scope_batch.models.architecture import vace_config
from scope_batch.models.folder import ModelFiles, find_models
from scope_batch.models.keys import to_diffusers_vace
from scope_batch.models.lora import adapters

from .helpers import BACKBONE, CPU, linked

VACE = "WanVideo_comfy/Wan2_1-VACE_module_1_3B_bf16.safetensors"
WHOLE = "Wan2.1-VACE-1.3B/diffusion_pytorch_model.safetensors"
State = dict[str, Tensor]

load_transformer = partial(modules.load_transformer, kind=CausalVaceWan, dtype=torch.float32, device=CPU)


def steered(folder: Path) -> ModelFiles:
    return find_models("longlive", str(folder), vae_type="lightvae", vace=True)


def module(folder: Path) -> State:
    return dict(load_file(folder / VACE))


def with_module(source: Path, target: Path, state: State, path: str = VACE) -> ModelFiles:
    """Copy `source`, with `state` saved as its VACE module `path`."""
    linked(source, target)
    (target / VACE).unlink()
    (target / path).parent.mkdir(exist_ok=True)
    save_file(state, target / path)
    return steered(target)


def backbone(folder: Path) -> State:
    (state,) = torch.load(folder / BACKBONE, weights_only=True).values()
    return {key.removeprefix("model."): tensor for key, tensor in state.items()}


def test_every_weight_is_assigned_to_its_parameter(parity_models: Path) -> None:
    model, state = load_transformer(steered(parity_models)), module(parity_models)
    block = model.vace_blocks[1]
    assert model.config.vace_layers == [0, 2]
    assert torch.equal(model.vace_patch_embedding.weight, state["vace_patch_embedding.weight"])
    assert torch.equal(model.vace_blocks[0].proj_in.bias, state["vace_blocks.0.before_proj.bias"])
    assert torch.equal(block.proj_out.weight, state["vace_blocks.1.after_proj.weight"])
    assert torch.equal(block.attn2.to_out[0].weight, state["vace_blocks.1.cross_attn.o.weight"])
    assert torch.equal(block.norm2.weight, state["vace_blocks.1.norm3.weight"])
    assert torch.equal(block.scale_shift_table, state["vace_blocks.1.modulation"])
    parts = [p for name, p in model.named_parameters() if name.startswith("vace_")]
    assert sum(p.numel() for p in parts) == sum(t.numel() for t in state.values())


def test_without_a_module_there_is_none(parity_models: Path) -> None:
    assert find_models("longlive", str(parity_models), vae_type="lightvae").vace is None


@pytest.mark.parametrize("naming", ["original", "diffusers"])
@pytest.mark.parametrize("base", [True, False])
def test_vace_can_be_loaded_from_a_whole_checkpoint(
    parity_models: Path, tmp_path: Path, naming: str, base: bool
) -> None:
    """The backbone in the checkpoint is not used."""
    state = module(parity_models)
    want = load_transformer(steered(parity_models))
    if naming == "diffusers":
        state = to_diffusers_vace(state)
    if base:
        state |= {key: torch.zeros_like(tensor) for key, tensor in backbone(parity_models).items()}
    events: list[Event] = []
    files = with_module(parity_models, tmp_path / "m", state, WHOLE)
    got = load_transformer(files, report=events.append)
    assert files.vace == tmp_path / "m" / WHOLE
    assert not [event for event in events if isinstance(event, Warned)]
    assert all(torch.equal(a, b) for a, b in zip(got.parameters(), want.parameters(), strict=True))


def test_the_module_comes_before_a_whole_checkpoint(parity_models: Path, tmp_path: Path) -> None:
    linked(parity_models, tmp_path / "m")
    (tmp_path / "m" / WHOLE).parent.mkdir()
    (tmp_path / "m" / WHOLE).touch()
    assert steered(tmp_path / "m").vace == tmp_path / "m" / VACE


def test_parts_that_need_float32_keep_it(parity_models: Path) -> None:
    model = load_transformer(steered(parity_models), dtype=torch.bfloat16)
    block = model.vace_blocks[0]
    assert block.scale_shift_table.dtype == block.norm2.weight.dtype == torch.float32
    assert block.proj_out.weight.dtype == model.vace_patch_embedding.weight.dtype == torch.bfloat16


def test_the_builtin_lora_changes_only_the_backbone(parity_models: Path) -> None:
    state = module(parity_models)
    for form in ("merged", "adapter"):
        model = load_transformer(steered(parity_models), builtin_lora=form)
        assert torch.equal(model.vace_blocks[1].attn1.to_q.weight, state["vace_blocks.1.self_attn.q.weight"])
        adapted = [name for name, _ in model.named_parameters() if adapters.BUILTIN_ADAPTER in name]
        assert bool(adapted) == (form == "adapter") and not [name for name in adapted if name.startswith("vace_")]


def test_a_missing_module_is_named_with_the_way_to_get_it(parity_models: Path, tmp_path: Path) -> None:
    linked(parity_models, tmp_path / "m")
    (tmp_path / "m" / VACE).unlink()
    with pytest.raises(UnavailableError) as caught:
        steered(tmp_path / "m")
    assert "WanVideo_comfy/Wan2_1-VACE_module_1_3B_bf16.safetensors; to fetch them, " in str(caught.value)
    assert ": scope-batch models pull longlive" in str(caught.value)
    assert " --vace " in str(caught.value)


def drop(key: str, state: State) -> None:
    del state[key]


def rename(state: State) -> None:
    for key in list(state):
        state[f"net.{key}"] = state.pop(key)


def more_blocks(state: State) -> None:
    for key in [key for key in state if key.startswith("vace_blocks.1.")]:
        state[key.replace("vace_blocks.1.", "vace_blocks.2.")] = state[key].clone()


REFUSALS: list[tuple[Callable[[State], object], str]] = [
    (
        partial(drop, "vace_blocks.1.ffn.0.weight"),
        "1 of 62 tensors of the Wan VACE module are missing: vace_blocks.1.ffn",
    ),
    (lambda s: s.update({"vace_blocks.0.after_proj.bias": torch.zeros(3)}), r"proj_out.bias is \[3\], not \[256\]"),
    (lambda s: s["vace_patch_embedding.weight"].zero_(), "vace_patch_embedding.weight is all zeros"),
    (
        lambda s: s.update({"vace_patch_embedding.weight": torch.ones(256, 16, 1, 2, 2)}),
        "a VACE context of 16 channels",
    ),
    (rename, "not a Wan VACE module: vace_patch_embedding.weight is missing"),
    (more_blocks, "3 VACE blocks cannot be spread over the 4 layers"),
    (lambda s: [s.pop(k) for k in list(s) if "blocks" in k], "0 VACE blocks"),
]


@pytest.mark.parametrize(("change", "message"), REFUSALS, ids=[message[:30] for _, message in REFUSALS])
def test_refusals(
    parity_models: Path,
    tmp_path: Path,
    change: Callable[[State], object],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every fault is one line, and is found before the backbone is read."""
    state = module(parity_models)
    change(state)
    files = with_module(parity_models, tmp_path / "m", state)
    read = modules.read_checkpoint
    monkeypatch.setattr(
        modules, "read_checkpoint", lambda path, *only: pytest.fail() if path == files.backbone else read(path, *only)
    )
    with pytest.raises(JobError, match=message) as caught:
        load_transformer(files)
    assert str(files.vace) in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_keys_of_the_module_are_named(parity_models: Path, tmp_path: Path) -> None:
    state = module(parity_models) | {"vace_extra": torch.zeros(1)}
    events: list[Event] = []
    load_transformer(with_module(parity_models, tmp_path / "m", state), report=events.append)
    (warning,) = [event.message for event in events if isinstance(event, Warned)]
    assert "1 keys" in warning and "vace_extra" in warning


def test_the_large_module_sits_on_every_fifth_layer() -> None:
    shapes = {f"vace_blocks.{j}.proj_out.weight": torch.Size([1]) for j in range(8)}
    shapes["vace_patch_embedding.weight"] = torch.Size([5120, 96, 1, 2, 2])
    assert vace_config(shapes, 40, Path("module"))["vace_layers"] == [0, 5, 10, 15, 20, 25, 30, 35]
