from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from scope_batch.models import check
from scope_batch.models.check import Checker, FileCheck, all_ok
from scope_batch.models.layout import Role, artifacts

from .helpers import BACKBONE, LORA, TEXT_ENCODER, VAE, changed, linked

CONFIG = "Wan2.1-T2V-1.3B/config.json"
VACE = "WanVideo_comfy/Wan2_1-VACE_module_1_3B_bf16.safetensors"


@pytest.fixture
def folder(parity_models: Path, tmp_path: Path) -> Path:
    linked(parity_models, tmp_path / "models")
    return tmp_path / "models"


def checked(folder: Path, *, vace: bool = False) -> dict[str, FileCheck]:
    results = Checker(folder).check("longlive", vae_type="lightvae", vace=vace)
    return {str(result.artifact.local): result for result in results}


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: len(data) // 2])


def test_a_sound_folder(parity_models: Path) -> None:
    results = checked(parity_models, vace=True)
    assert all_ok(list(results.values())) and len(results) == 7
    assert {str(a.local) for a in artifacts("longlive", "lightvae", vace=True)} == set(results)
    assert results[BACKBONE].size_bytes == (parity_models / BACKBONE).stat().st_size
    assert all(result.size_bytes and not result.problem for result in results.values())


def test_a_missing_file_is_missing_and_the_others_are_checked(folder: Path) -> None:
    (folder / TEXT_ENCODER).unlink()
    results = checked(folder)
    assert [name for name, result in results.items() if result.state != "ok"] == [TEXT_ENCODER]
    assert (results[TEXT_ENCODER].state, results[TEXT_ENCODER].size_bytes) == ("missing", None)


@pytest.mark.parametrize("path", [BACKBONE, LORA, VAE, TEXT_ENCODER])
def test_a_truncated_file_is_named(folder: Path, path: str) -> None:
    cut(folder / path)
    result = checked(folder)[path]
    assert result.state == "wrong" and "truncated" in result.problem and str(folder / path) in result.problem


@pytest.mark.parametrize(("path", "prefix"), [(BACKBONE, "net.model."), (VAE, "net.")])
def test_a_wrong_prefix_is_named(parity_models: Path, tmp_path: Path, path: str, prefix: str) -> None:
    def rename(state: dict[str, Any]) -> None:
        for key in list(state):
            state[f"net.{key}"] = state.pop(key)

    changed(parity_models, tmp_path / "models", path, rename)
    problem = checked(tmp_path / "models")[path].problem
    assert "not a Wan" in problem and f"every key begins with '{prefix}', which is not known" in problem


def test_missing_and_unknown_keys(parity_models: Path, tmp_path: Path) -> None:
    changed(parity_models, tmp_path / "a", VAE, lambda state: state.pop("decoder.head.2.bias"))
    assert "1 of 194 tensors of the Wan VAE are missing" in checked(tmp_path / "a")[VAE].problem
    changed(parity_models, tmp_path / "b", VAE, partial(dict.update, extra=torch.zeros(1)))  # type: ignore[arg-type]
    result = checked(tmp_path / "b")[VAE]
    assert result.state == "ok" and len(result.warnings) == 1 and "extra" in result.warnings[0]


def test_a_file_is_unknown_while_another_file_that_it_needs_is_missing(folder: Path) -> None:
    cut(folder / BACKBONE)
    results = checked(folder, vace=True)
    assert {results[name].state for name in (LORA, VACE)} == {"unknown"}
    assert "longlive_base.pt" in results[LORA].problem
    cut(folder / LORA)
    assert checked(folder)[LORA].state == "wrong"


def test_a_config_with_another_number_of_heads_is_wrong(folder: Path) -> None:
    (folder / CONFIG).unlink()
    (folder / CONFIG).write_text(json.dumps({"num_heads": 3}))
    assert "cannot be split into the 3 heads" in checked(folder)[BACKBONE].problem
    (folder / CONFIG).write_text("{}")
    assert checked(folder)[CONFIG].state == "wrong"


def test_a_module_for_another_backbone_does_not_fit(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / VACE)
    (folder / VACE).unlink()
    save_file({key: tensor for key, tensor in state.items() if "after_proj" not in key}, folder / VACE)
    assert "tensors of the Wan VACE module are missing" in checked(folder, vace=True)[VACE].problem


def test_shared_files_are_looked_at_once(parity_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checker = Checker(parity_models)
    first = checker.check("longlive", vae_type="lightvae")
    monkeypatch.setattr(check, "empty_text_encoder", lambda *_: pytest.fail("looked at again"))
    assert checker.check("longlive", vae_type="lightvae") == first


def test_every_role_can_be_checked() -> None:
    assert {*check._CHECKS, "processor"} == set(get_args(Role))  # `check_processor` is for models of processors
