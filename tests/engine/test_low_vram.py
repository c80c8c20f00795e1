from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scope_batch.engine import low_vram
from scope_batch.engine.load import CausalEngine, load
from scope_batch.errors import UnavailableError
from scope_batch.events import Event, Warned, silent
from scope_batch.pipelines import PIPELINES
from scope_batch.session import EngineRequest
from tests.engine.test_session_vace import FRAMES, chunk, render

LONGLIVE = PIPELINES["longlive"]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CHUNKS = [chunk(0, FRAMES), chunk(1), chunk(2, FRAMES)]


def request(**fields: object) -> EngineRequest:
    return EngineRequest(LONGLIVE, models="tiny", device="cpu", vace=True, **fields)  # type: ignore[arg-type]


def choice(asked: str, device: torch.device = CPU, **fields: object) -> tuple[str, list[str]]:
    told: list[Event] = []
    chosen = low_vram.choose(request(low_vram=asked, **fields), device, told.append)
    return chosen, [event.message for event in told if isinstance(event, Warned)]


def latents(engine: CausalEngine) -> NDArray[np.float32]:
    return render(engine, CHUNKS)[1]


@pytest.fixture(scope="module")
def plain() -> NDArray[np.float32]:
    return latents(load(request(), silent))


def test_waiting_in_host_memory_changes_no_bit(plain: NDArray[np.float32]) -> None:
    engine = load(request(), silent)
    low_vram.apply("on", engine.transformer, torch.float32, CPU)
    for _ in range(2):
        np.testing.assert_array_equal(latents(engine), plain)


def test_storage_in_fp8_changes_the_frames_a_little(plain: NDArray[np.float32]) -> None:
    engine = load(request(low_vram="cast"), silent)
    attention = engine.transformer.blocks[0].attn1
    assert attention.to_q.weight.dtype == torch.float8_e4m3fn and attention.norm_q.weight.dtype == torch.float32
    off = np.linalg.norm(latents(engine) - plain) / np.linalg.norm(plain)
    assert 0 < off < 0.1
    assert attention.to_q.weight.dtype == torch.float8_e4m3fn


def test_on_a_cpu_there_is_nothing_to_win() -> None:
    assert choice("auto", expected_bytes=1 << 50) == ("off", [])
    chosen, told = choice("on")
    assert chosen == "off" and "no effect on a CPU" in told[0]


@pytest.mark.parametrize(("free", "chosen", "words"), [(20, "off", []), (12, "on", ["12.0 GB and 12.0 GB of device"])])
def test_auto_goes_by_the_forecast_and_says_so(
    free: int, chosen: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free * 10**9, 80 * 10**9))
    made, told = choice("auto", CUDA, expected_bytes=12 * 10**9)
    assert made == chosen and len(told) == len(words) and all(w in t for w, t in zip(words, told, strict=True))


def test_without_a_forecast_auto_is_off() -> None:
    assert choice("auto", CUDA) == ("off", [])


@pytest.mark.parametrize("asked", ["on", "cast"])
def test_it_excludes_quantization(asked: str) -> None:
    with pytest.raises(UnavailableError, match=f"--low-vram {asked} cannot be combined with quantization"):
        choice(asked, CUDA, quantization="fp8_e4m3fn")
