"""Selects the device and dtype, copies between host and device, and translates device faults into errors.

Copies go through pinned memory and do not wait; torch reuses the pinned memory once a copy is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scope_batch.errors import TemporaryError, UnavailableError

LIBRARY_OUT_OF_MEMORY = "STATUS_ALLOC_FAILED"
"""cuBLAS and cuDNN report it in a plain RuntimeError."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def resolve_device(asked: str, option: str = "--device") -> torch.device:
    """ "auto" (CUDA if there is one, else the CPU), "cpu", "cuda" or "cuda:N". `option` names it in messages."""
    if asked == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError as error:
        raise UnavailableError(f"{option} {asked}: no such device; allowed: auto, cpu, cuda, cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise UnavailableError(f"{option} {asked}: not supported; allowed: auto, cpu, cuda, cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UnavailableError(
                f"{option} {asked}: this machine has {count or 'no'} CUDA device{'s' * (count != 1)}"
            )
        return torch.device("cuda", device.index or 0)
    return device


def resolve_dtype(asked: str, device: torch.device) -> torch.dtype:
    """ "auto": bfloat16 on CUDA, float32 on the CPU."""
    if asked == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return DTYPES[asked]


def exact_arithmetic(*, deterministic: bool) -> None:
    """float32 means float32: TF32, which torch switches on for convolutions, is off. Process-wide."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = False


def peak_bytes(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


@contextmanager
def device_faults(chunk: int | None) -> Iterator[None]:
    """Translate out-of-memory and other device faults into UnavailableError or TemporaryError.

    `chunk` None: while the engine is loaded or prepared.
    """
    where = "loading" if chunk is None else f"chunk {chunk}"
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise _out_of_memory(chunk, where, error) from error
    except torch.AcceleratorError as error:
        raise TemporaryError(f"{where}: the device failed: {str(error).splitlines()[0]}") from error
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
    """Start an asynchronous copy to the host; a CPU tensor is returned as it is."""
    if tensor.device.type != "cuda":
        return tensor
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Start an asynchronous copy. On the CPU it shares the array's memory, unless that is read-only or strided."""
    return send(torch.from_numpy(np.require(array, requirements=["C", "W"])), device)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Start an asynchronous copy of a host tensor; for the CPU it is returned as it is."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def copied(value: Any, device: torch.device) -> Any:
    """`value` with its tensors copied to `device`, contiguous, also those in lists."""
    if isinstance(value, Tensor):
        return value.to(device, copy=True, memory_format=torch.contiguous_format)
    if isinstance(value, list):
        return [copied(part, device) for part in value]
    return value


def overwrite(target: Tensor, source: Tensor) -> None:
    """Copy `source` into `target` in place, from any device. Raises ValueError if shape or dtype differ."""
    if (source.shape, source.dtype) != (target.shape, target.dtype):
        raise ValueError(
            f"a saved tensor is {source.dtype} {tuple(source.shape)}, wanted {target.dtype} {tuple(target.shape)}"
        )
    target.copy_(source)
