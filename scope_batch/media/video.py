"""Reads frames of a video file from one running decoder."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

import numpy as np

from scope_batch.errors import JobError
from scope_batch.media.clip import Part, input_args, probe_video
from scope_batch.media.ffmpeg import DECODER_MEMORY_BYTES, Child, refuse_little_memory
from scope_batch.media.frame_list import is_change, is_input_error, joined_messages
from scope_batch.media.images import on_white
from scope_batch.media.source import Frame, Source

LOUD = ("-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info")
"""Log with levels: some decoders conceal damage and only log it; every change of format is logged, too."""


class VideoSource(Source):
    """Decodes from the start of the file, which keeps frame numbers exact where seeking may not.

    ffmpeg drops earlier frames by their time; if times do not identify frames, they are read and dropped here. Parts of
    the clip that need different filters have their own decoders.
    """

    def __init__(self, path: Path) -> None:
        self._facts = facts = probe_video(path)
        self.name, self.notes = path.name, facts.notes
        self.width, self.height = facts.parts[0].width, facts.parts[0].height
        self.timing, self.has_audio = facts.timing, facts.has_audio
        self._path = path
        self._child: Child | None = None
        self._next = self._stop = self._channels = self._changes_seen = 0
        self._held: tuple[int, Frame] | None = None
        self._interrupted = False

    def frame(self, index: int) -> Frame:
        if self._held is not None and self._held[0] == index:
            return self._held[1]
        child = self._child
        if child is None or not self._next <= index < self._stop:
            child = self._open(index)
        while self._next <= index:
            part, data = self._part(self._next), self._read(child)
        pixels = np.frombuffer(data, np.uint8).reshape(part.height, part.width, self._channels)
        self._held = (index, on_white(pixels) if self._channels == 4 else pixels)
        return self._held[1]

    def interrupt(self) -> None:
        self._interrupted = True
        if (child := self._child) is not None:
            child.kill()

    def close(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None

    def _part(self, index: int) -> Part:
        parts = self._facts.parts
        return parts[bisect_right(parts, index, key=lambda part: part.first) - 1]

    def _open(self, index: int) -> Child:
        """Start a decoder whose output begins at frame `index`, or at frame 0 if times are not unique."""
        self.close()
        part = self._part(index)
        others = [other.first for other in self._facts.parts if other.filters != part.filters and other.first > index]
        self._stop, self._channels = min(others, default=self.frames), part.channels
        self._next = index if self._facts.ordered else 0
        conditions = [f"gte(t,{self._seconds_before(self._next)})"] if self._next else []
        if self._facts.ordered and self._stop < self.frames:
            conditions.append(f"lt(t,{self._seconds_before(self._stop)})")
        select = [f"select='{'*'.join(conditions)}'"] if conditions else []
        output = ["-map", "0:V:0", "-vf", ",".join([*select, part.filters]), "-noautoscale", "-fps_mode", "passthrough"]
        args = [*LOUD, *input_args(self._path, self._facts.decoder), *output, "-f", "rawvideo", "-"]
        self._child = Child(args, stdout=True, memory_bytes=DECODER_MEMORY_BYTES)
        self._changes_seen = 0
        # `interrupt` may have been called while there was no child to kill.
        if self._interrupted:
            self._child.kill()
        return self._child

    def _seconds_before(self, index: int) -> str:
        """Return the time half a tick before frame `index`, for ffmpeg's filters, which use floats."""
        half_ticks = 2 * self.timing.ticks[index] - 1
        return f"{float(self._facts.offset_s + half_ticks * self.timing.tick_s / 2):.9f}"

    def _read(self, child: Child) -> bytes:
        assert child.stdout is not None
        part = self._part(self._next)
        size = part.width * part.height * self._channels
        data = child.stdout.read(size)
        if self._next == self.frames - 1 and child.stdout.read(1):
            raise JobError(f"{self.name}: has more frames than the {self.frames} that were counted before the render")
        self._check(child, complete=len(data) == size)
        self._next += 1
        return data

    def _check(self, child: Child, *, complete: bool) -> None:
        """Raise JobError for an incomplete frame, an error, or a change of format that the probe did not report."""
        lines = child.new_lines().splitlines()
        self._changes_seen += sum(map(is_change, lines))
        if self._changes_seen > self._facts.changes:
            raise JobError(
                f"{self.name}: changes its size or colours near frame {self._next}, between key frames; make it even "
                "first: ffmpeg -i IN -vf scale=W:H OUT"
            )
        if complete and not any(map(is_input_error, lines)):
            return
        child.kill()
        child.wait()
        errors = [line for line in (*lines, *child.new_lines().splitlines()) if is_input_error(line)]
        messages = joined_messages(errors) or "the decoder ended early"
        refuse_little_memory(self.name, messages)
        raise JobError(f"{self.name}: frame {self._next} of {self.frames} cannot be decoded: {messages}")
