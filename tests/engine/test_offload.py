from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scope_batch.core.engine import EngineRequest
from scope_batch.engine.loader import CausalEngine, load
from scope_batch.engine.offload import SLOTS, BlockOffload, apply_low_vram, choose_low_vram
from scope_batch.errors import UnavailableError
from scope_batch.events import Event, Warned, silent
from scope_batch.pipelines import PIPELINES
from tests.engine.test_session_vace import FRAMES, chunk, render

CPU = torch.device("cpu")


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.randn(width).to(torch.bfloat16))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * self.scale.float().sum()


@pytest.fixture
def blocks() -> nn.ModuleList:
    torch.manual_seed(0)
    return nn.ModuleList(Block(width) for width in (3, 1, 5)).requires_grad_(False)


def run(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    for block in blocks:
        x = block(x)
    return x


def test_results_are_bit_equal_pass_after_pass(blocks: nn.ModuleList) -> None:
    x, plain = torch.randn(2, 8), copy.deepcopy(blocks)
    BlockOffload(blocks, CPU)
    assert all(torch.equal(run(blocks, x * k), run(plain, x * k)) for k in (1, 2, 3))


def test_between_passes_parameters_are_as_they_were(blocks: nn.ModuleList) -> None:
    before = copy.deepcopy(blocks.state_dict())
    BlockOffload(blocks, CPU)
    run(blocks, torch.randn(2, 8))
    after = blocks.state_dict()
    assert all(torch.equal(after[key], value) and after[key].dtype == value.dtype for key, value in before.items())


@pytest.mark.parametrize("count", [1, 3])
def test_a_parameter_that_changes_between_passes_counts(blocks: nn.ModuleList, count: int) -> None:
    x, used = torch.randn(2, 8), nn.ModuleList(list(blocks)[:count])
    plain = copy.deepcopy(used)
    BlockOffload(used, CPU)
    run(used, x)
    for each in (used, plain):
        each[0].linear.bias.copy_(torch.ones(8))
    assert torch.equal(run(used, x), run(plain, x))


def test_two_blocks_are_on_the_device_at_a_time(blocks: nn.ModuleList) -> None:
    offload = BlockOffload(blocks, CPU)
    slots = {slot.data_ptr() for slot in offload._slots}
    seen = set()
    for block in blocks:
        block.linear.register_forward_pre_hook(lambda module, _: seen.add(module.weight.untyped_storage().data_ptr()))
    run(blocks, torch.randn(2, 8))
    assert seen == slots and len(slots) == SLOTS


def test_a_pass_that_broke_off_leaves_no_trace(blocks: nn.ModuleList) -> None:
    x, plain = torch.randn(2, 8), copy.deepcopy(blocks)
    BlockOffload(blocks, CPU)
    with pytest.raises(RuntimeError, match="shape"):
        blocks[0](torch.randn(2, 7))
    for each in (blocks, plain):
        each[0].linear.bias.copy_(torch.ones(8))
    blocks[0](x)
    assert torch.equal(run(blocks, x), run(plain, x))


LONGLIVE = PIPELINES["longlive"]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CHUNKS = [chunk(0, FRAMES), chunk(1), chunk(2, FRAMES)]


def request(**fields: object) -> EngineRequest:
    return EngineRequest(LONGLIVE, models="tiny", device="cpu", vace=True, **fields)  # type: ignore[arg-type]


def choice(option: str, device: torch.device = CPU, **fields: object) -> tuple[str, list[str]]:
    warnings: list[Event] = []
    chosen = choose_low_vram(request(low_vram=option, **fields), device, warnings.append)
    return chosen, [event.message for event in warnings if isinstance(event, Warned)]


def latents(engine: CausalEngine) -> NDArray[np.float32]:
    return render(engine, CHUNKS)[1]


@pytest.fixture(scope="module")
def plain() -> NDArray[np.float32]:
    return latents(load(request(), silent))


def test_waiting_in_host_memory_changes_no_bit(plain: NDArray[np.float32]) -> None:
    engine = load(request(), silent)
    apply_low_vram("on", engine.transformer, torch.float32, CPU)
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
    chosen, warnings = choice("on")
    assert chosen == "off" and "no effect on a CPU" in warnings[0]


@pytest.mark.parametrize(("free", "chosen", "words"), [(20, "off", []), (12, "on", ["12.0 GB and 12.0 GB of device"])])
def test_auto_follows_the_forecast_and_warns(
    free: int, chosen: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free * 10**9, 80 * 10**9))
    result, warnings = choice("auto", CUDA, expected_bytes=12 * 10**9)
    assert (
        result == chosen and len(warnings) == len(words) and all(w in t for w, t in zip(words, warnings, strict=True))
    )


def test_without_a_forecast_auto_is_off() -> None:
    assert choice("auto", CUDA) == ("off", [])


@pytest.mark.parametrize("option", ["on", "cast"])
@pytest.mark.parametrize(
    ("field", "value", "words"), [("quantization", "fp8_e4m3fn", "quantization"), ("speed", "high", "speed: high")]
)
def test_low_vram_excludes_weights_in_fp8(option: str, field: str, value: str, words: str) -> None:
    line = f"--low-vram {option} cannot be combined with {words}; allowed: off, auto"
    with pytest.raises(UnavailableError, match=f"^{line}$"):
        choice(option, CUDA, **{field: value})
    assert choice("auto", CUDA, expected_bytes=10**12, **{field: value}) == ("off", [])
