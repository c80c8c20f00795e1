"""Writes and reads the checksums of frames in the form of ffmpeg's muxer `framehash` (that of `framemd5`)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction

from scope_batch import __version__
from scope_batch.errors import JobError
from scope_batch.media.source import Frame

CHANNELS = 3


def frame_sha256(frame: Frame) -> str:
    """Return the sha256 of the frame's values, uint8 [H, W, 3] in C order: 64 hex digits."""
    return hashlib.sha256(frame.tobytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class FrameHashes:
    """The sha256 of every frame of a film, its rate and size in pixels."""

    hashes: tuple[str, ...]
    fps: Fraction
    height: int
    width: int

    def to_text(self) -> str:
        """Return what `ffmpeg -f framehash -hash sha256` writes for this film as raw RGB."""
        size = self.height * self.width * CHANNELS
        head = (
            "#format: frame checksums", "#version: 2", "#hash: SHA256", f"#software: scope-batch {__version__}",
            f"#tb 0: {self.fps.denominator}/{self.fps.numerator}", "#media_type 0: video", "#codec_id 0: rawvideo",
            f"#dimensions 0: {self.width}x{self.height}", "#sar 0: 0/1",
            "#stream#, dts,        pts, duration,     size, hash",
        )  # fmt: skip
        rows = (f"0, {index:>10}, {index:>10}, {1:>8}, {size:>8}, {digest}" for index, digest in enumerate(self.hashes))
        return "".join(f"{line}\n" for line in (*head, *rows))

    @classmethod
    def of_text(cls, text: str, name: str) -> FrameHashes:
        """Read what `to_text` wrote. Raises JobError for anything else; `name` is the file's."""
        head = dict(line[1:].split(": ", 1) for line in text.splitlines() if line.startswith("#") and ": " in line)
        rows = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
        try:
            width, height = map(int, head["dimensions 0"].split("x"))
            fps = 1 / Fraction(head["tb 0"])
            if head["hash"].lower() != "sha256" or any(int(row[1]) != index for index, row in enumerate(rows)):
                raise ValueError("not a list of sha256 of all frames")
            return cls(tuple(row[5].strip() for row in rows), fps, height, width)
        except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
            raise JobError(f"{name}: is no list of frame checksums that scope-batch wrote: {error}") from error
