"""A streaming state goes through a file bit for bit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from scope_batch.engine.state_file import HostBuffers, StateSnapshot, read_state, write_state

STATE: dict[str, Any] = {
    "cache.keys": [torch.randn(1, 3, 2, 4).bfloat16(), torch.randn(1, 3, 2, 4).bfloat16()],
    "decoder.features": [None, "Rep", torch.randn(1, 2, 2, 3, 3), torch.zeros(0, 4)],
    "vace.only_gray": 1,
    "flag": torch.tensor(True),
    "next_chunk": 12,
    "factor": 0.1,
    "empty": [],
}


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert torch.equal(one, other)
    elif isinstance(one, list):
        assert len(one) == len(other)
        for part, same in zip(one, other, strict=True):
            assert_same(part, same)
    else:
        assert one == other


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    with (tmp_path / "a.state").open("wb") as file:
        write_state(STATE, file)
    read = read_state(tmp_path / "a.state")
    assert list(read) == list(STATE)
    for name, value in STATE.items():
        assert_same(value, read[name])


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    with (tmp_path / "a.state").open("wb") as file:
        write_state(STATE, file)
    assert torch.equal(load_file(tmp_path / "a.state")["cache.keys.1"], STATE["cache.keys"][1])


def test_a_snapshot_keeps_the_values_of_its_moment(tmp_path: Path) -> None:
    live = torch.ones(4)
    snapshot = StateSnapshot({"x": live}, HostBuffers(), torch.device("cpu"))
    live.zero_()
    with (tmp_path / "a.state").open("wb") as file:
        snapshot.write(file)
    assert torch.equal(read_state(tmp_path / "a.state")["x"], torch.ones(4))
    assert snapshot.seconds >= 0


@pytest.mark.parametrize("damage", [b"", b"abc", b"\x08\0\0\0\0\0\0\0{}      "])
def test_other_files_are_refused(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "a.state").write_bytes(damage)
    with pytest.raises(ValueError, match=r"a\.state"):
        read_state(tmp_path / "a.state")


def test_nothing_is_collected_before_it_is_written() -> None:
    sizes: list[int] = []

    class Pieces(io.RawIOBase):
        def write(self, data: Any, /) -> int:
            sizes.append(memoryview(data).nbytes)
            return sizes[-1]

    write_state({"a": torch.zeros(1000), "b": torch.zeros(2000)}, Pieces())
    assert sizes[1:] == [4000, 8000]
