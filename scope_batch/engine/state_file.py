"""Copies the streaming state to host memory, writes it as one safetensors file, and reads it back.

The header's `__metadata__` has the entry "state": JSON with the version and, for each name, {"tensor": key}, {"list":
[...]} of such entries, or {"value": number, string or null}. The tensors are written one after another, not collected:
beside the state itself no memory is needed.
"""

from __future__ import annotations

import json
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from scope_batch.core.engine import ByteWriter
from scope_batch.engine.device import copy_to

VERSION = 1
"""Raised whenever a state of an older version can no longer be restored."""
_DTYPES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float64: "F64",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.bool: "BOOL",
}


def write_state(state: Mapping[str, Any], file: ByteWriter) -> None:
    """Write what `SessionState.state` returned: host tensors, numbers, strings, None, or lists of those."""
    tensors: dict[str, Tensor] = {}
    entries = {name: _entry(name, value, tensors) for name, value in state.items()}
    header: dict[str, Any] = {"__metadata__": {"state": json.dumps({"version": VERSION, "entries": entries})}}
    end = 0
    for key, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        header[key] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for tensor in tensors.values():
        if tensor.nbytes:
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def read_state(path: Path) -> dict[str, Any]:
    """The state that `write_state` wrote; its tensors are mapped from the file, which must stay until they are copied.

    Raises ValueError if the file is none of these, or of another version.
    """
    try:
        with safe_open(path, "pt") as opened:
            document = json.loads((opened.metadata() or {}).get("state", "{}"))
            if document.get("version") != VERSION:
                raise ValueError(f"{path.name}: version {document.get('version')} of the state, {VERSION} is read")
            return {name: _value(entry, opened) for name, entry in document["entries"].items()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path.name}: not a readable state: {error}") from error


def _entry(name: str, value: Any, tensors: dict[str, Tensor]) -> dict[str, Any]:
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, list):
        return {"list": [_entry(f"{name}.{index}", part, tensors) for index, part in enumerate(value)]}
    return {"value": value}


def _value(entry: Mapping[str, Any], opened: Any) -> Any:
    if "tensor" in entry:
        return opened.get_tensor(entry["tensor"])
    if "list" in entry:
        return [_value(part, opened) for part in entry["list"]]
    return entry["value"]


class HostBuffers:
    """Pinned host memory in one piece, to which every snapshot of a session is copied in turn.

    Pinning tensor by tensor takes seconds for a state of some gigabytes. Here all threads touch the memory first, then
    it is registered at once: 5.4 GB in 0.7 s in place of 5.2 s on an H200's host.
    """

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8)
        self._unpin: Callable[[], object] = lambda: None

    def copy(self, contents: Mapping[str, Any]) -> dict[str, Any]:
        """Copy the values of a state to the host: tensors of a GPU on its current stream, without waiting for them."""
        self._reserve(sum(_padded(tensor.nbytes) for tensor in _gpu_tensors(contents.values())))
        self._used = 0
        return {name: self._copied(value) for name, value in contents.items()}

    def _copied(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._copied(part) for part in value]
        if not isinstance(value, Tensor) or value.device.type != "cuda":
            return copy_to(value, torch.device("cpu"))
        place = self._memory[self._used : self._used + value.nbytes].view(value.dtype).view(value.shape)
        self._used += _padded(value.nbytes)
        return place.copy_(value, non_blocking=True)

    def _reserve(self, size: int) -> None:
        if size <= self._memory.nbytes:
            return
        self._unpin()
        self._memory = torch.empty(size, dtype=torch.uint8).fill_(0)  # all threads touch it, which takes the time
        cudart: Any = torch.cuda.cudart()
        torch.cuda.check_error(cudart.cudaHostRegister(self._memory.data_ptr(), size, 0))
        self._unpin = weakref.finalize(self, _unregister, self._memory)


def _padded(size: int) -> int:
    """Bytes that a tensor takes in the piece, so that the next one is aligned."""
    return -(-size // 256) * 256


def _gpu_tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, list):
            yield from _gpu_tensors(value)
        elif isinstance(value, Tensor) and value.device.type == "cuda":
            yield value


def _unregister(memory: Tensor) -> None:
    cudart: Any = torch.cuda.cudart()
    cudart.cudaHostUnregister(memory.data_ptr())


class StateSnapshot:
    """See `scope_batch.core.engine.Snapshot`. On a GPU the copies are queued behind the chunk before and in front of
    the next one; nothing waits for them but `write`."""

    def __init__(self, contents: Mapping[str, Any], buffers: HostBuffers, device: torch.device) -> None:
        """`contents`: the session's own tensors and numbers, by name."""
        self._events: list[torch.cuda.Event] = []
        began_s = time.monotonic()
        self._mark(device)
        self._state = buffers.copy(contents)
        self._mark(device)
        self._host_s = time.monotonic() - began_s

    def write(self, file: ByteWriter) -> None:
        if self._events:
            self._events[-1].synchronize()
        write_state(self._state, file)

    @property
    def seconds(self) -> float:
        copying_ms = self._events[0].elapsed_time(self._events[1]) if self._events else 0.0
        return max(self._host_s, copying_ms / 1000)

    def _mark(self, device: torch.device) -> None:
        if device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(device))
            self._events.append(event)
