"""Verifies a finished output: it has the expected frames and size, and every frame decodes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from scope_batch.errors import OutputError
from scope_batch.media.ffmpeg import LOCAL_FILES, file_url, last_lines, refuse_little_memory, run_quiet
from scope_batch.media.patience import CheckStop, never_stop
from scope_batch.sinks.metadata import PNG_KEY, is_own_picture
from scope_batch.sinks.npy import verify_npy
from scope_batch.sinks.output import Output, numbered, picture_numbers

_SIZE = re.compile(r"Video: .*?, (\d+)x(\d+)[, \[\n]")
_FRAMES = re.compile(r"^frame=\s*(\d+)", re.MULTILINE)
_ERROR = re.compile(r"\[(?:error|fatal|panic)\] ")


def verify_output(output: Output, frames: int, height: int, width: int) -> None:
    """Raises OutputError unless the file or sequence holds exactly `frames` pictures of `width` x `height` pixels."""
    assert output.path is not None, "a pipe cannot be read again"
    if output.format == "npy":
        try:
            verify_npy(output.path, frames, height, width)
        except OSError as error:
            raise OutputError(f"{output.path}: {error.strerror}") from error
    elif output.format == "png":
        verify_sequence(output.path, frames)
    else:
        verify_video(output.path, frames, height, width)


def verify_video(path: Path, frames: int, height: int, width: int, check_stop: CheckStop = never_stop) -> None:
    """Decode every frame of video and sound, since a container can count frames that no decoder can read.

    Raises OutputError if the file does not match or a frame fails to decode, and whatever `check_stop` raises.
    """
    args = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info", "-progress", "pipe:1"]
    args += [*LOCAL_FILES, "-i", file_url(path), "-map", "0:v:0", "-map", "0:a?", "-fps_mode", "passthrough"]
    done = run_quiet([*args, "-f", "null", "-"], check_stop)
    size = _SIZE.search(done.stderr)
    counts = _FRAMES.findall(done.stdout)
    errors = [line for line in done.stderr.splitlines() if _ERROR.search(line)]
    if done.returncode or size is None or not counts:
        refuse_little_memory(str(path), last_lines(_ERROR.sub("", done.stderr)))
        raise OutputError(f"{path}: cannot be read back: {last_lines(_ERROR.sub('', done.stderr))}")
    _compare(path, (int(counts[-1]), int(size[1]), int(size[2])), (frames, width, height))
    if errors:
        raise OutputError(f"{path}: a frame cannot be decoded: {last_lines(_ERROR.sub('', errors[0]))}")


def verify_sequence(pattern: Path, frames: int) -> None:
    """Verify the pictures 0 to `frames` - 1; later pictures that scope-batch did not write are allowed."""
    numbers = picture_numbers(pattern)
    count = sum(number < frames or is_own_picture(path) for path, number in numbers.items())
    if count != frames or not {*range(frames)} <= {*numbers.values()}:
        raise OutputError(f"{pattern}: holds {count} pictures, expected {frames}")
    verify_pictures([numbered(pattern, index) for index in range(frames)])


def verify_pictures(paths: Sequence[Path]) -> None:
    """Raises OutputError unless every picture is intact, by its checksums, and all store the same job."""
    first = _checked_text(paths[0])
    for path in paths[1:]:
        if _checked_text(path) != first:
            raise OutputError(f"{path}: is from another render than {paths[0].name}")


def _checked_text(path: Path) -> str | None:
    try:
        with Image.open(path) as image:
            text: str | None = image.info.get(PNG_KEY)
            image.verify()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise OutputError(f"{path}: is not a whole PNG: {error}") from error
    return text


def _compare(path: Path, actual: tuple[int, int, int], expected: tuple[int, int, int]) -> None:
    if actual != expected:
        texts = ["{} frames of {}x{}".format(*counted) for counted in (actual, expected)]
        raise OutputError(f"{path}: holds {texts[0]}, expected {texts[1]}")
