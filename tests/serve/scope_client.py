"""A client of the batch protocol as the draft's own test script behaves. It knows nothing of the server's insides."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

POLL_S = 1.0
LOAD_S, UPLOAD_S = 300.0, 300.0
CHUNK_FRAMES = 12
"""The script assumes chunks of so many frames, whatever the pipeline makes."""
HEADER_BYTES = 20
DEFAULTS: dict[str, Any] = {
    "seed": 42, "noise_scale": 0.7, "manage_cache": False, "prompt_interpolation_method": "linear",
    "vace_context_scale": 1.0,
}  # fmt: skip
"""Fields that its request model writes without having been asked."""
Frames = NDArray[np.uint8]


@dataclass
class Blob:
    """Arrays back to back, as `upload-data` takes them."""

    data: bytearray = field(default_factory=bytearray)

    def add(self, name: str, array: NDArray[Any]) -> dict[str, Any]:
        """Append an array; returns the fields of a chunk that point to it."""
        offset = len(self.data)
        self.data += np.ascontiguousarray(array).tobytes()
        return {f"{name}_shape": [*array.shape], f"{name}_offset": offset}


def sliced(blob: Blob, chunks: int, arrays: dict[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """Cut [1, C, T, H, W] arrays blindly at every 12 frames: the last slices may be short, or have no frames at all."""
    specs = []
    for chunk in range(chunks):
        spec: dict[str, Any] = {"chunk": chunk, "reset_cache": False, "vace_temporally_locked": True}
        for name, array in arrays.items():
            spec |= blob.add(name, array[:, :, chunk * CHUNK_FRAMES : (chunk + 1) * CHUNK_FRAMES])
        specs.append(spec)
    return specs


class ScopeClient:
    """Works through one render after another: load, upload, generate, download."""

    def __init__(self, http: httpx.Client, family: str = "/api/v1/batch") -> None:
        self._http, self._family = http, family
        self.rates: list[float] = []
        """Frames per second, as each progress event told them."""

    def load(self, pipeline_id: str, **params: Any) -> dict[str, Any]:
        """Load a pipeline and wait for it. Raises RuntimeError if the server says that it cannot."""
        body = {
            "pipeline_ids": [pipeline_id],
            "load_params": params,
            "connection_id": None,
            "connection_info": None,
            "user_id": None,
        }
        self._http.post("/api/v1/pipeline/load", json=body).raise_for_status()
        deadline = time.monotonic() + LOAD_S
        while time.monotonic() < deadline:
            status: dict[str, Any] = self._http.get("/api/v1/pipeline/status").raise_for_status().json()
            if status["status"] == "loaded":
                return status
            if status["status"] == "error":
                raise RuntimeError(status["error"])
            time.sleep(POLL_S)
        raise RuntimeError("the pipeline was not loaded in time")

    def upload(self, video: Frames) -> str:
        """Send frames uint8 [T, H, W, 3]; returns the handle."""
        names = ("Frames", "Height", "Width", "Channels")
        headers = {f"X-Video-{name}": str(size) for name, size in zip(names, video.shape, strict=True)}
        headers["Content-Type"] = "application/octet-stream"
        answer = self._http.post(f"{self._family}/upload", content=video.tobytes(), headers=headers, timeout=UPLOAD_S)
        return str(answer.raise_for_status().json()["input_path"])

    def upload_data(self, blob: Blob) -> str:
        headers = {"Content-Type": "application/octet-stream"}
        url = f"{self._family}/upload-data"
        answer = self._http.post(url, content=bytes(blob.data), headers=headers, timeout=UPLOAD_S)
        return str(answer.raise_for_status().json()["data_blob_path"])

    def generate(self, **fields: Any) -> Frames:
        """Render, and return the downloaded frames. Raises RuntimeError for an `error` event."""
        complete = None
        with self._http.stream(
            "POST", self._family, json={**DEFAULTS, **fields}, headers={"Accept": "text/event-stream"}, timeout=None
        ) as answer:
            answer.raise_for_status()
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            for name, data in _events(answer.iter_lines()):
                if name == "progress":
                    assert 1 <= data["chunk"] <= data["total_chunks"]
                    self.rates.append(data["fps"])
                elif name == "complete":
                    complete = data
                    break  # and hangs up
                elif name == "error":
                    raise RuntimeError(data["error"])
        if complete is None:
            raise RuntimeError("No complete event received")
        frames = self.download(complete["output_path"])
        assert [*frames.shape] == complete["video_shape"]
        return frames

    def download(self, handle: str) -> Frames:
        url = f"{self._family}/download"
        answer = self._http.get(url, params={"path": handle}, timeout=UPLOAD_S).raise_for_status()
        names = ("Frames", "Height", "Width", "Channels")
        shape = [int(answer.headers.get(f"X-Video-{name}", 0)) for name in names]
        return np.frombuffer(answer.content[HEADER_BYTES:], np.uint8).reshape(shape)


def _events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Read an event line, then a data line; skip empty lines and comments."""
    name = ""
    for line in lines:
        if line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:"):
            yield name, json.loads(line[5:])
