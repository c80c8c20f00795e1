from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scope_batch.models.pickle_shapes import read_pickle_shapes
from scope_batch.models.sizes import UMT5_XXL, WAN_1_3B, WAN_14B, ModelSizes, SideBranches, model_sizes
from scope_batch.models.tiny import build
from tests.models.lora_files import pair, write


def test_the_built_in_set_is_as_large_as_its_files() -> None:
    folder = build.tiny_models_folder(vace=True)
    assert model_sizes("longlive", str(folder), "lightvae", vace=True) == model_sizes(
        "longlive", "tiny", "lightvae", vace=True
    )


def test_the_module_counts_only_where_it_is_loaded() -> None:
    sizes = model_sizes("longlive", "tiny", "wan", vace=False)
    assert sizes is not None and sizes.backbone.vace_blocks == 0


def test_of_an_unknown_pipeline_or_vae_nothing_is_said() -> None:
    assert model_sizes("a-plugin", None, "wan", vace=False) is None
    assert model_sizes("longlive", None, "tae", vace=False) is None


def test_what_is_missing_or_damaged_is_taken_as_published(tmp_path: Path) -> None:
    published = ModelSizes(replace(WAN_1_3B, vace_blocks=0), UMT5_XXL, 96)
    assert model_sizes("longlive", str(tmp_path), "wan", vace=False) == published
    file = tmp_path / "LongLive-1.3B/models/longlive_base.pt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"PK\x03\x04 no archive")
    assert model_sizes("longlive", str(tmp_path), "wan", vace=False) == published
    large = model_sizes("krea-realtime-video", str(tmp_path), "wan", vace=True)
    assert large is not None and large.backbone == WAN_14B


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


def test_what_side_branches_hold(tmp_path: Path) -> None:
    lora = write(tmp_path / "x.safetensors", pair("blocks.0.self_attn.q") | {"blocks.0.norm3.diff_b": torch.ones(256)})
    found = model_sizes("longlive", "tiny", "wan", vace=False, loras=[lora, lora])
    assert found is not None and found.branches == SideBranches(numbers=2 * 2 * 4 * 256, moved=2 * 256)
