"""Checks fp8 through torchao. A CPU cannot multiply in fp8, so only weights are fp8 here; the GPU bench runs all."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from scope_batch import kernels
from scope_batch.core.engine import EngineRequest
from scope_batch.engine import quantization
from scope_batch.engine.loader import load
from scope_batch.errors import JobError, UnavailableError
from scope_batch.events import silent
from scope_batch.models.lora.weights import Lora
from scope_batch.pipelines import PIPELINES

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_cpu_is_refused_before_anything_is_loaded() -> None:
    request = EngineRequest(PIPELINES["longlive"], models="/nowhere", device="cpu", quantization="fp8_e4m3fn")
    with pytest.raises(
        UnavailableError, match=r"needs a CUDA device of compute capability 8\.9 or more; this is a CPU"
    ):
        load(request, silent)


def test_an_older_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 6))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "An Older GPU")
    with pytest.raises(UnavailableError, match=r"An Older GPU has 8\.6"):
        quantization.check_fp8(CUDA, "speed: high")


def test_without_torchao_the_command_that_fetches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(UnavailableError, match=r"pip install 'scope-batch\[fp8\]'"):
        quantization.import_torchao()


HIGH = EngineRequest(PIPELINES["longlive"], models="/nowhere", device="cpu", speed="high")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "speed: high needs a CUDA device of compute capability 8.9 or more; this is a CPU"),
        ({"kernels": "off"}, "--kernels off cannot be combined with speed: high; allowed: auto"),
        ({"dtype": "float32"}, "--dtype float32 cannot be combined with speed: high; allowed: auto, bfloat16"),
    ],
)
def test_high_speed_is_refused_before_anything_is_loaded(options: dict[str, str], line: str) -> None:
    with pytest.raises(UnavailableError, match=f"^{re.escape(line)}$"):
        load(replace(HIGH, **options), silent)  # type: ignore[arg-type]


def test_high_speed_needs_the_programs_own_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 9))
    quantization.check_high_speed(HIGH, CUDA)
    monkeypatch.setattr(kernels, "find_spec", lambda _: None)
    with pytest.raises(UnavailableError, match="own kernels, which do not run here: the package triton"):
        quantization.check_high_speed(HIGH, CUDA)


class Recorder:
    """Replaces torchao: records the modules to quantize."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def quantize_(self, model: nn.Module, config: Any, filter_fn: Any) -> None:
        assert config == "config"
        self.names += [name for name, module in model.named_modules() if filter_fn(module, name)]


@pytest.fixture(scope="module")
def transformer() -> Iterator[Any]:
    engine = load(EngineRequest(PIPELINES["longlive"], models="tiny", device="cpu"), silent)
    yield engine.transformer


def test_every_linear_layer_but_those_of_time(transformer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(quantization, "import_torchao", lambda: recorder)
    quantization.quantize(transformer, "config")
    linear = {name for name, module in transformer.named_modules() if isinstance(module, nn.Linear)}
    assert linear - set(recorder.names) == {f"condition_embedder.time_embedder.linear_{i}" for i in (1, 2)}
    assert set(recorder.names) <= linear and "proj_out" in recorder.names


def test_a_matrix_of_zeros_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(quantization, "import_torchao", lambda: recorder)
    model = nn.ModuleDict({"zeros": nn.Linear(4, 4), "other": nn.Linear(4, 4)})
    nn.init.zeros_(model["zeros"].weight)  # type: ignore[arg-type]
    model._keep_in_fp32_modules = []  # type: ignore[assignment]
    quantization.quantize(model, "config")
    assert recorder.names == ["other"]


def lora(*diffs: str) -> Lora:
    return Lora(Path("x.safetensors"), {}, {name: torch.zeros(1) for name in diffs})


def test_a_lora_that_changes_whole_matrices_is_refused_by_name(transformer: Any) -> None:
    quantization.check_loras(transformer, [lora("blocks.0.attn1.to_q.bias", "blocks.0.norm2.weight")], "x: y")
    with pytest.raises(JobError, match=r"x\.safetensors: changes whole matrices .* which x: y does not"):
        quantization.check_loras(transformer, [lora("blocks.0.attn1.to_q.weight")], "x: y")
