"""Quantizes the backbone's linear layers to fp8 through torchao, for `quantization: fp8_e4m3fn`.

Weights and activations become e4m3 with one scale per tensor. Convolutions, norms, modulation, keys and values keep
their dtype. The time embedding stays in float32, as diffusers requires.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from scope_batch.core.engine import EngineRequest
from scope_batch.errors import JobError, UnavailableError
from scope_batch.kernels import reason_against
from scope_batch.models.lora.weights import Lora

QUANTIZATION, HIGH_SPEED = "quantization: fp8_e4m3fn", "speed: high"
"""The settings of a job that multiply in fp8."""
CAPABILITY = (8, 9)
"""Compute capability of Ada, the first GPUs with fp8 matrix multiplication."""


def check_fp8(device: torch.device, field: str) -> None:
    """Raise UnavailableError, with the name of the job's field, if the device does not multiply in fp8."""
    needs = f"{field} needs a CUDA device of compute capability {CAPABILITY[0]}.{CAPABILITY[1]} or more"
    if device.type != "cuda":
        raise UnavailableError(f"{needs}; this is a {device.type.upper()}")
    capability = torch.cuda.get_device_capability(device)
    if capability < CAPABILITY:
        raise UnavailableError(f"{needs}; {torch.cuda.get_device_name(device)} has {capability[0]}.{capability[1]}")


def check_high_speed(request: EngineRequest, device: torch.device) -> None:
    """Raise UnavailableError if `speed: high` does not run on the device with these options. Call it before loading."""
    if request.kernels == "off":
        raise UnavailableError(f"--kernels off cannot be combined with {HIGH_SPEED}; allowed: auto")
    if request.dtype == "float32":
        raise UnavailableError(f"--dtype float32 cannot be combined with {HIGH_SPEED}; allowed: auto, bfloat16")
    check_fp8(device, HIGH_SPEED)
    if (reason := reason_against(device)) is not None:
        raise UnavailableError(f"{HIGH_SPEED} needs the program's own kernels, which do not run here: {reason}")


def import_torchao() -> Any:
    """Import `torchao.quantization`. Raises UnavailableError if it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torchao.quantization
    except ImportError as error:
        raise UnavailableError(f"{QUANTIZATION} needs torchao: pip install 'scope-batch[fp8]'") from error
    return torchao.quantization


def fp8_config() -> Any:
    """Return torchao's configuration: weights and activations in fp8, one scale per tensor."""
    torchao = import_torchao()
    return torchao.Float8DynamicActivationFloat8WeightConfig(granularity=torchao.PerTensor())


def quantize(transformer: Any, config: Any) -> None:
    """Quantize in place every linear layer that diffusers does not keep in float32. Merge LoRAs before."""
    kept = set(transformer._keep_in_fp32_modules)

    def is_quantized(module: nn.Module, name: str) -> bool:
        if not isinstance(module, nn.Linear) or kept & set(name.split(".")):
            return False
        return bool(module.weight.any())  # torchao turns an all-zero weight into NaN

    import_torchao().quantize_(transformer, config, filter_fn=is_quantized)


def check_loras(transformer: nn.Module, loras: Sequence[Lora], field: str) -> None:
    """Raise JobError for a LoRA that adds to whole matrices of linear layers: quantized weights cannot be added to."""
    for lora in loras:
        changed = [name for name in lora.diffs if isinstance(_owner(transformer, name), nn.Linear)]
        if any(name.endswith(".weight") for name in changed):
            raise JobError(f"{lora.path}: changes whole matrices of linear layers, which {field} does not support")


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])
