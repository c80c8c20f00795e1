from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan, WanVACETransformer3DModel
from safetensors.torch import load_file

from scope_batch.models.layout import VaeType
from scope_batch.models.pickle_shapes import read_pickle_shapes
from scope_batch.models.sizes import VAES, WAN_1_3B, WAN_14B, ModelSizes, SideBranches, Weights, model_sizes, weights_of
from scope_batch.models.tiny import build
from tests.models.lora_files import pair, write


@pytest.mark.usefixtures("trained_set")
def test_the_built_in_set_is_as_large_as_its_files() -> None:
    folder = build.tiny_models_folder(vace=True)
    read = model_sizes("longlive", str(folder), "lightvae", vace=True)
    assert read is not None
    text_encoder = 4 * sum(prod(shape) for shape in _shapes_of(folder / "WanVideo_comfy"))  # small: stored in float32
    assert replace(read, text_encoder_bytes=text_encoder) == model_sizes("longlive", "tiny", "lightvae", vace=True)


def _shapes_of(folder: Path) -> list[tuple[int, ...]]:
    [file] = folder.glob("umt5*.safetensors")
    return [tuple(tensor.shape) for tensor in load_file(file).values()]


def test_the_vace_module_counts_only_if_it_is_loaded() -> None:
    sizes = model_sizes("longlive", "tiny", "wan", vace=False)
    assert sizes is not None and (sizes.vace_blocks, sizes.vace) == (0, Weights())


def test_an_unknown_pipeline_or_vae_has_no_sizes() -> None:
    assert model_sizes("a-plugin", None, "wan", vace=False) is None
    assert model_sizes("longlive", None, "tae", vace=False) is None


def test_missing_or_damaged_files_count_as_published(tmp_path: Path) -> None:
    published = replace(WAN_1_3B, vace_blocks=0, vace=Weights())
    assert model_sizes("longlive", str(tmp_path), "wan", vace=False) == published
    file = tmp_path / "LongLive-1.3B/models/longlive_base.pt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"PK\x03\x04 no archive")
    assert model_sizes("longlive", str(tmp_path), "wan", vace=False) == published
    large = model_sizes("krea-realtime-video", str(tmp_path), "wan", vace=True)
    assert large == WAN_14B


@pytest.mark.parametrize(("sizes", "vace_blocks"), [(WAN_1_3B, 15), (WAN_14B, 8)], ids=["1.3B", "14B"])
def test_published_sizes_are_those_of_the_networks(sizes: ModelSizes, vace_blocks: int) -> None:
    layers, heads = sizes.backbone.layers, sizes.backbone.heads
    with torch.device("meta"):
        model = WanVACETransformer3DModel(
            num_layers=layers,
            num_attention_heads=heads,
            ffn_dim=sizes.backbone.ffn,
            vace_layers=list(range(0, layers, layers // vace_blocks)),
        )
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    vace = {key: shape for key, shape in shapes.items() if key.startswith("vace_")}
    backbone = {key: shape for key, shape in shapes.items() if key not in vace}
    assert weights_of(vace) == sizes.vace and weights_of(backbone) == sizes.backbone.weights
    block = {key: shape for key, shape in backbone.items() if key.startswith("blocks.0.")}
    assert weights_of(block) == sizes.backbone.block


@pytest.mark.parametrize("vae_type", VAES)
def test_published_vaes_are_as_large_as_the_networks(vae_type: VaeType) -> None:
    width, numbers = VAES[vae_type]
    with torch.device("meta"):
        assert sum(tensor.numel() for tensor in AutoencoderKLWan(base_dim=width).state_dict().values()) == numbers


def test_shapes_of_a_pickle(tmp_path: Path) -> None:
    state = OrderedDict(a=torch.zeros(2, 3, dtype=torch.bfloat16), b=torch.nn.Parameter(torch.zeros(4)))
    torch.save({"step": 3, "generator": state}, tmp_path / "x.pt")
    assert read_pickle_shapes(tmp_path / "x.pt") == {"a": (2, 3), "b": (4,)}


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return print, ("run",)


def test_nothing_in_a_pickle_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"evil": Harmful(), "a": torch.zeros(2)}, tmp_path / "x.pt")
    assert read_pickle_shapes(tmp_path / "x.pt") == {"a": (2,)} and capsys.readouterr().out == ""


def test_parameters_of_side_branches(tmp_path: Path) -> None:
    lora = write(tmp_path / "x.safetensors", pair("blocks.0.self_attn.q") | {"blocks.0.norm3.diff_b": torch.ones(256)})
    found = model_sizes("longlive", "tiny", "wan", vace=False, loras=[lora, lora])
    assert found is not None and found.branches == SideBranches(numbers=2 * 2 * 4 * 256, moved=2 * 256)
