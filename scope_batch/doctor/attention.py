"""Runs every attention kernel once on small tensors and compares the result with a plain implementation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from diffusers.models.attention_dispatch import (
    AttentionBackendName,
    _check_attention_backend_requirements,
    dispatch_attention_fn,
)
from torch import Tensor

from scope_batch.doctor.finding import Finding, first_line

DEFAULT = "native"
"""The kernel of a render: torch chooses one of its own."""
FAST = ("_native_flash", "_native_cudnn")
KERNELS = (DEFAULT, *FAST, "_native_efficient", "_native_math", "flash", "_flash_3", "sage", "xformers")
"""Names of kernels in diffusers, without those that would be downloaded or compiled first."""

TOLERANCE = 0.05
"""Maximum error, relative to the largest value: kernels compute in bfloat16, or in 8 bits."""


def check() -> Iterator[Finding]:
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    failures = {name: _failure(name, device, dtype) for name in KERNELS if _is_installed(name)}
    runs = [name for name, failure in failures.items() if not failure]
    where = f"on {device} in {str(dtype).removeprefix('torch.')}"
    values = {
        "device": str(device),
        "runs": runs,
        "fails": {name: failure for name, failure in failures.items() if failure},
    }
    if failures[DEFAULT]:
        text = f"{where} torch's own attention does not run: {failures[DEFAULT]}"
        yield Finding("attention", "fault", text, "install a torch that fits driver and device", values)
        return
    absent = [name for name, failure in failures.items() if failure]
    text = f"{where}: {', '.join(runs)} run" + (f"; these do not: {', '.join(absent)}" if absent else "")
    if device.type == "cuda" and not set(runs) & set(FAST):
        yield Finding("attention", "warn", text, "without a flash or cuDNN kernel a render is slow", values)
    else:
        yield Finding("attention", "ok", text, values=values)


def _is_installed(name: str) -> bool:
    try:
        _check_attention_backend_requirements(AttentionBackendName(name))
    except RuntimeError:
        return False
    return True


def _failure(name: str, device: torch.device, dtype: torch.dtype) -> str:
    """Return why this kernel cannot be used on this device; "" if it can."""
    query, key, value = torch.randn(3, 1, 64, 2, 128, generator=torch.Generator().manual_seed(0))
    expected = _plain_attention(query, key, value)
    inputs = [tensor.to(device, dtype) for tensor in (query, key, value)]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about each kernel that it does not use
            out = dispatch_attention_fn(*inputs, backend=name).float().cpu()
    except (RuntimeError, ValueError, TypeError, AssertionError, ImportError) as error:
        return first_line(error)
    difference = float((out - expected).abs().max() / expected.abs().max())
    return "" if difference <= TOLERANCE else f"its result is off by {difference:.0%}"


def _plain_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute attention over [1, tokens, heads, width] without a kernel."""
    weights = torch.einsum("bqhd,bkhd->bhqk", query, key) * query.shape[-1] ** -0.5
    return torch.einsum("bhqk,bkhd->bqhd", weights.softmax(-1), value)
