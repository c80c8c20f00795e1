"""Copies the streaming state to host memory, writes it as one safetensors file, and reads it back.

The header's `__metadata__` has the entry "state": JSON with the version and, for each name, {"tensor": key}, {"list":
[...]} of such entries, or {"value": number, string or null}. The tensors are written one after another, not collected:
beside the state itself no memory is needed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
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
    """Pinned host memory that every snapshot of a session is copied to in turn; allocated by the first one."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def copy(self, name: str, value: Any) -> Any:
        """Start to copy a value of the state, on the current stream; a CPU tensor is copied at once."""
        if isinstance(value, list):
            return [self.copy(f"{name}.{index}", part) for index, part in enumerate(value)]
        if not isinstance(value, Tensor) or value.device.type != "cuda":
            return copy_to(value, torch.device("cpu"))
        buffer = self._buffers.get(name)
        if buffer is None or (buffer.shape, buffer.dtype) != (value.shape, value.dtype):
            buffer = self._buffers[name] = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
        return buffer.copy_(value, non_blocking=True)


class StateSnapshot:
    """See `scope_batch.core.engine.Snapshot`. On a GPU the copies are queued behind the chunk before and in front of
    the next one; nothing waits for them but `write`."""

    def __init__(self, contents: Mapping[str, Any], buffers: HostBuffers, device: torch.device) -> None:
        """`contents`: the session's own tensors and numbers, by name."""
        self._events: list[torch.cuda.Event] = []
        began_s = time.monotonic()
        self._mark(device)
        self._state = {name: buffers.copy(name, value) for name, value in contents.items()}
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
