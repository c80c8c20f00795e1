"""Lists the formats of outputs in one table, from which sinks, options and help texts are derived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """A format of output files, named by its suffix.

    muxer        ffmpeg's name of the container; None = written without ffmpeg.
    codec        ffmpeg's default video encoder, None = none.
    audio_codec  ffmpeg's encoder of the sound track; None = no sound.
    sidecar      the file holds no text as long as a job, so the job is written beside it, to NAME.EXT.json.
    """

    muxer: str | None = None
    codec: str | None = None
    audio_codec: str | None = None
    sidecar: bool = False


OUTPUT_FORMATS: Mapping[str, OutputFormat] = MappingProxyType(
    {
        "mp4": OutputFormat("mp4", "libx264", "aac"),
        "mov": OutputFormat("mov", "libx264", "aac"),
        "mkv": OutputFormat("matroska", "libx264", "aac"),
        "webm": OutputFormat("webm", "libvpx-vp9", "libopus"),
        "npy": OutputFormat(sidecar=True),
        "nut": OutputFormat("nut", "rawvideo", "pcm_s16le", sidecar=True),
        "png": OutputFormat(),
    }
)
STDOUT_FORMATS = ("npy", "nut", "mp4", "mkv", "webm")
"""Formats that can be written without seeking; the first is the default of `-o -`."""
FILE_SUFFIXES = " ".join(f".{name}" for name in OUTPUT_FORMATS if name != "png")
"""The suffixes of outputs that are one file, for messages; "png" is written as a sequence such as frames/%05d.png."""
