from pathlib import Path

import numpy as np
import pytest
import torch

from scope_batch.engine.device import (
    device_faults,
    driver_version,
    environment,
    exact_arithmetic,
    resolve_device,
    resolve_dtype,
)
from scope_batch.engine.frame_transfer import DeviceFrames
from scope_batch.errors import JobError, TemporaryError, UnavailableError


@pytest.mark.parametrize("name", ["cuda:99", "cuda:7", "mps", "abacus"])
def test_a_missing_device_is_unavailable(name: str) -> None:
    with pytest.raises(UnavailableError, match=f"--device {name}: "):
        resolve_device(name)


def test_dtype_follows_the_device() -> None:
    assert resolve_dtype("auto", torch.device("cpu")) == torch.float32
    assert resolve_dtype("auto", torch.device("cuda")) == torch.bfloat16
    assert resolve_dtype("float32", torch.device("cuda")) == torch.float32


def test_no_memory_at_the_start_is_final_and_later_is_temporary() -> None:
    with pytest.raises(UnavailableError, match="chunk 0: out of device memory"), device_faults(0):
        raise torch.OutOfMemoryError("tried to allocate 3 GiB\nmore")
    with pytest.raises(TemporaryError, match="chunk 5: out of device memory: tried"), device_faults(5):
        raise torch.OutOfMemoryError("tried to allocate 3 GiB\nmore")


def test_a_failing_device_is_temporary() -> None:
    with pytest.raises(TemporaryError, match="chunk 0: the device failed: CUDA error"), device_faults(0):
        raise torch.AcceleratorError("CUDA error: illegal access\nhint")


def test_float32_is_not_tf32() -> None:
    torch.backends.cudnn.allow_tf32 = True
    exact_arithmetic(deterministic=False)
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


def test_frames_that_are_not_finite_are_refused() -> None:
    frames, latents = torch.zeros(9, 4, 4, 3, dtype=torch.uint8), torch.zeros(1, 3, 16, 1, 1)
    made = DeviceFrames(4, frames, torch.tensor(False), latents)
    for read in (made.frames, made.latents):
        with pytest.raises(JobError, match="chunk 4: the model produced NaN"):
            read()
    good = DeviceFrames(4, frames, torch.tensor(True), latents)
    assert good.frames().shape == (9, 4, 4, 3) and good.latents().dtype == np.float32


def test_the_driver_is_that_of_the_kernel_module(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: told)
    assert driver_version() == "580.95.05"


def test_the_environment_of_a_cpu_names_kernels_and_attention() -> None:
    facts = environment(torch.device("cpu"))
    assert facts.keys() == {"CPU kernels", "attention", "device", "threads"} and facts["attention"] == "native"
