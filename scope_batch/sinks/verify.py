"""Is a finished output what it should be? Each format is opened anew and counted."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from scope_batch.errors import OutputError
from scope_batch.media.ffmpeg import LOCAL_FILES, file_url, last_lines, run_quiet
from scope_batch.sinks.metadata import PNG_KEY
from scope_batch.sinks.npy import verify_npy
from scope_batch.sinks.output import Output, numbered, numbered_files

_SIZE = re.compile(r"Video: .*?, (\d+)x(\d+)[, \[\n]")
_FRAMES = re.compile(r"^frame=\s*(\d+)", re.MULTILINE)


def verify_output(output: Output, frames: int, height: int, width: int) -> None:
    """Raises OutputError unless the file or sequence holds exactly `frames` pictures of `width` x `height` pixels."""
    assert output.path is not None, "a pipe cannot be read again"
    if output.format == "npy":
        try:
            verify_npy(output.path, frames, height, width)
        except OSError as error:
            raise OutputError(f"{output.path}: {error.strerror}") from error
    elif output.format == "png":
        verify_png(output.path, frames)
    else:
        verify_video(output.path, frames, height, width)


def verify_video(path: Path, frames: int, height: int, width: int) -> None:
    """Counts the packets of the first video stream, which needs no decoding."""
    args = ["-nostdin", "-hide_banner", "-nostats", "-progress", "pipe:1", *LOCAL_FILES, "-i", file_url(path)]
    done = run_quiet([*args, "-map", "0:v:0", "-c", "copy", "-f", "null", "-"])
    size = _SIZE.search(done.stderr)
    counts = _FRAMES.findall(done.stdout)
    if done.returncode or size is None or not counts:
        raise OutputError(f"{path}: cannot be read back: {last_lines(done.stderr)}")
    _compare(path, (int(counts[-1]), int(size[1]), int(size[2])), (frames, width, height))


def verify_png(pattern: Path, frames: int) -> None:
    """Counts the files; each was written whole before it got its name.

    They are written in order, so the first and the last are from one render if and only if all are.
    """
    count = len(numbered_files(pattern))
    missing = [index for index in range(frames) if not numbered(pattern, index).is_file()]
    if missing or count != frames:
        raise OutputError(f"{pattern}: holds {count} pictures, expected {frames}")
    if _png_text(numbered(pattern, 0)) != _png_text(numbered(pattern, frames - 1)):
        raise OutputError(f"{pattern}: holds pictures of different renders")


def _png_text(path: Path) -> str | None:
    try:
        with Image.open(path) as image:
            return image.info.get(PNG_KEY)
    except OSError as error:
        raise OutputError(f"{path}: is not a readable PNG: {error}") from error


def _compare(path: Path, found: tuple[int, int, int], expected: tuple[int, int, int]) -> None:
    if found != expected:
        texts = ["{} frames of {}x{}".format(*counted) for counted in (found, expected)]
        raise OutputError(f"{path}: holds {texts[0]}, expected {texts[1]}")
