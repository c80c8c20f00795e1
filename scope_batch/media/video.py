"""Frames of a video file, from one running decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scope_batch.errors import JobError
from scope_batch.media.clip import input_args, probe_video
from scope_batch.media.ffmpeg import QUIET, Child
from scope_batch.media.images import on_white
from scope_batch.media.source import Frame, Source

SCALE_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
"""The same pixels on every processor, chroma filtered at full resolution."""


class VideoSource(Source):
    """Decodes from the start of the file up to what is asked: frame numbers stay exact where seeking may not be."""

    def __init__(self, path: Path) -> None:
        facts = probe_video(path)
        self.name = path.name
        self.width, self.height, self.timing, self.has_audio = facts.width, facts.height, facts.timing, facts.has_audio
        self._path = path
        self._alpha, self._matrix = facts.alpha, facts.matrix
        self._child: Child | None = None
        self._next = 0
        self._held: tuple[int, Frame] | None = None
        self._interrupted = False

    def frame(self, index: int) -> Frame:
        if self._held is not None and self._held[0] == index:
            return self._held[1]
        child = self._child
        if child is None or index < self._next:
            child = self._open(index)
        while self._next <= index:
            data = self._read(child)
        frame = self._rgb(data)
        self._held = (index, frame)
        return frame

    def interrupt(self) -> None:
        self._interrupted = True
        if (child := self._child) is not None:
            child.kill()

    def close(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None

    def _open(self, index: int) -> Child:
        self.close()
        scale = f"scale={self.width}:{self.height}:flags={SCALE_FLAGS}:in_color_matrix={self._matrix}"
        pixels = "rgba" if self._alpha else "rgb24"
        filters = f"select=gte(n\\,{index}),{scale},format={pixels}"
        output = ["-map", "0:V:0", "-vf", filters, "-fps_mode", "passthrough", "-f", "rawvideo", "-"]
        self._child = Child([*QUIET, *input_args(self._path), *output], stdout=True)
        self._next = index
        # `interrupt` may have come while there was no child to kill.
        if self._interrupted:
            self._child.kill()
        return self._child

    def _read(self, child: Child) -> bytes:
        assert child.stdout is not None
        size = self.width * self.height * (4 if self._alpha else 3)
        data = child.stdout.read(size)
        if self._next == self.frames - 1 and child.stdout.read(1):
            raise JobError(f"{self.name}: has more frames than the {self.frames} that were counted before the render")
        # Some decoders repair what is damaged and only say so: a complaint counts as an error too.
        if len(data) < size or child.complained():
            child.kill()
            child.wait()
            words = child.last_words() or "the decoder ended early"
            raise JobError(f"{self.name}: frame {self._next} of {self.frames} cannot be decoded: {words}")
        self._next += 1
        return data

    def _rgb(self, data: bytes) -> Frame:
        pixels = np.frombuffer(data, np.uint8).reshape(self.height, self.width, -1)
        return on_white(pixels) if self._alpha else pixels
