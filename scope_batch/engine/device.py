"""Selects the device and dtype, copies between host and device, and translates device faults into errors.

Copies go through pinned memory and do not wait; torch reuses the pinned memory once a copy is done.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.attention_dispatch import _AttentionBackendRegistry
from numpy.typing import NDArray
from torch import Tensor

from scope_batch.errors import DeviceFaultError, NoDeviceError, TemporaryError, UnavailableError

LIBRARY_OUT_OF_MEMORY = "STATUS_ALLOC_FAILED"
"""Part of the message with which cuBLAS and cuDNN report a lack of memory, in a plain RuntimeError."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def resolve_device(name: str, option: str = "--device") -> torch.device:
    """Turn "auto" (CUDA if available, else CPU), "cpu", "cuda" or "cuda:N" into a device.

    Raises NoDeviceError if this machine does not have it. `option` is the name of the setting in the message.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UnavailableError(f"{option} {name}: no such device; allowed: auto, cpu, cuda, cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise UnavailableError(f"{option} {name}: not supported; allowed: auto, cpu, cuda, cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise NoDeviceError(f"{option} {name}: this machine has {count or 'no'} CUDA device{'s' * (count != 1)}")
        return torch.device("cuda", device.index or 0)
    return device


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Turn "auto" (bfloat16 on CUDA, float32 on the CPU), "float32" or "bfloat16" into a dtype."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return DTYPES[name]


def exact_arithmetic(*, deterministic: bool) -> None:
    """Compute float32 in full precision for the whole process: switch off TF32 (torch has it on for convolutions).

    deterministic  also allow only deterministic algorithms.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = False


def environment(device: torch.device) -> dict[str, str]:
    """Return what decides about the last bits of results besides inputs and packages: the device and its settings."""
    facts = {"CPU kernels": torch.backends.cpu.get_cpu_capability(), "attention": attention_backend()}
    if device.type != "cuda":
        return facts | {"device": "cpu", "threads": str(torch.get_num_threads())}
    return facts | {
        "device": torch.cuda.get_device_name(device),
        "driver": driver_version(),
        "CUDA": str(torch.version.cuda),
        "cuDNN": str(torch.backends.cudnn.version()),
        "deterministic": str(torch.are_deterministic_algorithms_enabled()),
    }


def attention_backend() -> str:
    """Return the backend to which diffusers sends attention: "native" (torch's own) unless another one was chosen."""
    name, _ = _AttentionBackendRegistry.get_active_backend()
    return str(name.value)


def driver_version() -> str:
    """Return the version of NVIDIA's driver, "" where the system does not tell."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)", text)
    return found[1] if found else ""


def peak_bytes(device: torch.device) -> int:
    """Return the most device memory allocated so far, in bytes; 0 on the CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def free_unreachable(device: torch.device) -> None:
    """Free the device memory of objects that only refer to each other, which may otherwise wait for long.

    Libraries leave such circles around keys and values: in one process the memory of eight renders grew by the KV cache
    of nearly every one.
    """
    if device.type == "cuda":
        gc.collect()


@contextmanager
def device_faults(chunk: int | None) -> Iterator[None]:
    """Translate out-of-memory and other device errors of the with-body into UnavailableError or TemporaryError.

    chunk  index of the chunk in work; None while the engine is being loaded or prepared.
    """
    where = "loading" if chunk is None else f"chunk {chunk}"
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise _out_of_memory(chunk, where, error) from error
    except torch.AcceleratorError as error:
        raise DeviceFaultError(f"{where}: the device failed: {str(error).splitlines()[0]}") from error
    except RuntimeError as error:
        if LIBRARY_OUT_OF_MEMORY not in str(error):
            raise
        raise _out_of_memory(chunk, where, error) from error


def _out_of_memory(chunk: int | None, where: str, error: RuntimeError) -> UnavailableError | TemporaryError:
    line = f"{where}: out of device memory: {str(error).splitlines()[0]}"
    if chunk is None:
        return UnavailableError(line)
    return TemporaryError(line) if chunk else UnavailableError(f"{line} (a smaller height and width need less)")


def to_host(tensor: Tensor) -> Tensor:
    """Start an asynchronous copy to pinned host memory; a CPU tensor is returned itself."""
    if tensor.device.type != "cuda":
        return tensor
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Start an asynchronous copy. On the CPU the tensor shares the memory of a writable, contiguous array."""
    return send(torch.from_numpy(np.require(array, requirements=["C", "W"])), device)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Start an asynchronous copy of a host tensor to `device`; for the CPU the tensor itself is returned."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def copy_to(value: Any, device: torch.device) -> Any:
    """Copy a tensor, or the tensors in nested lists, to `device`, contiguous. Other values are returned unchanged."""
    if isinstance(value, Tensor):
        return value.to(device, copy=True, memory_format=torch.contiguous_format)
    if isinstance(value, list):
        return [copy_to(part, device) for part in value]
    return value


def overwrite(target: Tensor, source: Tensor) -> None:
    """Copy `source` into `target` in place, from any device. Raises ValueError if shape or dtype differ."""
    if (source.shape, source.dtype) != (target.shape, target.dtype):
        raise ValueError(
            f"a saved tensor is {source.dtype} {tuple(source.shape)}, "
            f"this session needs {target.dtype} {tuple(target.shape)}"
        )
    target.copy_(source)
