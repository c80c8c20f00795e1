"""Blocks that wait in host memory, on a CPU: the same copies and slots, without streams."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from scope_batch.engine.offload import SLOTS, BlockOffload

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
