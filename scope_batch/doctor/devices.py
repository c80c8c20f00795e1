"""Checks the processor, the memory and the CUDA devices, each of which computes a small product."""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch

from scope_batch.doctor.finding import Finding, first_line
from scope_batch.kernels import reason_against

BFLOAT16_FROM = (8, 0)
FP8_FROM = (8, 9)
"""Compute capabilities from which bfloat16 and fp8 are supported."""


def check() -> Iterator[Finding]:
    yield _host()
    if not torch.cuda.is_available():
        built = torch.version.cuda
        reason = f"torch is built for CUDA {built}" if built else "this torch is a CPU build"
        advice = "see whether `nvidia-smi` lists a GPU" if built else "with a GPU, install torch from PyPI"
        yield Finding("device", "warn", f"no CUDA device, so the CPU renders, slowly; {reason}", advice)
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        yield _cuda(index)


def _host() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    text = f"CPU: {cores} cores, {torch.get_num_threads()} torch threads, {_gib(total)} of memory, {_gib(free)} unused"
    return Finding("device", "ok", text, values={"cores": cores, "memory_bytes": total})


def _cuda(index: int) -> Finding:
    name = f"cuda:{index}"
    try:
        facts = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        _compute(torch.device(name))
    except RuntimeError as error:
        advice = "free its memory, or install a driver and a torch that fit it (`nvidia-smi` shows both)"
        return Finding("device", "fault", f"{name} does not compute: {first_line(error)}", advice)
    capability = (facts.major, facts.minor)
    text = f"{name}: {facts.name}, {_gib(total)}, {_gib(free)} free, capability {facts.major}.{facts.minor}"
    reason = reason_against(torch.device(name))
    text += ", kernels run" if reason is None else f", kernels do not run: {reason}"
    values = {
        "device": name,
        "name": facts.name,
        "memory_bytes": total,
        "free_bytes": free,
        "capability": capability,
        "kernels": reason is None,
    }
    if capability < BFLOAT16_FROM:
        return Finding("device", "warn", f"{text}, no bfloat16", "--dtype float32 may be faster", values)
    return Finding("device", "ok", text + ("" if capability >= FP8_FROM else ", no fp8"), values=values)


def _compute(device: torch.device) -> None:
    """Multiply and convolve in bfloat16, as every render does. Raises RuntimeError if that fails."""
    ones = torch.ones(64, 64, dtype=torch.bfloat16, device=device)
    frames = torch.ones(1, 8, 3, 8, 8, dtype=torch.bfloat16, device=device)
    kernel = torch.ones(8, 8, 3, 3, 3, dtype=torch.bfloat16, device=device)
    pair = (float((ones @ ones)[0, 0]), float(torch.nn.functional.conv3d(frames, kernel)[0, 0, 0, 0, 0]))
    if pair != (64.0, 216.0):
        raise RuntimeError(f"computes {pair[0]:g} and {pair[1]:g} instead of 64 and 216")


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
