"""Opens clips, control frames and masks of any file type."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

from scope_batch.core.timeline import TENSOR_NAMES, ClipSource
from scope_batch.core.timing import Timing, picked_frames, within
from scope_batch.errors import JobError
from scope_batch.files.image_series import IMAGE_SUFFIXES, is_pattern
from scope_batch.files.kinds import remedy
from scope_batch.media.arrays import (
    PICKLE_SUFFIXES,
    ArraySource,
    locate_bin,
    locate_npy,
    locate_part,
    locate_tensor,
    other_tensors,
    pickle_refusal,
)
from scope_batch.media.clip import VIDEO_SUFFIXES
from scope_batch.media.image_files import AnimatedSource, ImageFolderSource, ImageSource
from scope_batch.media.images import image_facts
from scope_batch.media.planes import FloatArrayReader
from scope_batch.media.source import Source, check_size, opening
from scope_batch.media.video import VideoSource

SAFETENSORS = ".safetensors"
Opened = TypeVar("Opened", bound=Source | FloatArrayReader)


def open_source(path: Path, also: tuple[str, ...] = (), near: tuple[int, int] | None = None) -> Source:
    """Open a video file, a `.npy` or `.bin` array, an image, moving or not, a folder or a pattern of images.

    also  further suffixes that the caller reads itself, for the message about an unknown one.
    near  height and width to which frames will be scaled: much larger still images are read at a reduced size.
    Raises MissingInputError if it does not exist, JobError if it is of an unknown type, damaged or too large.
    """
    suffix = path.suffix.lower()
    source: Source
    with opening(path.parent if (pattern := is_pattern(path)) else path) as is_folder:
        if pattern or is_folder:
            source = ImageFolderSource(path, near)
        elif suffix == ".npy":
            source = ArraySource(path, locate_npy)
        elif suffix == ".bin":
            source = ArraySource(path, locate_bin)
        elif suffix in IMAGE_SUFFIXES:
            source = AnimatedSource(path) if image_facts(path).animated else ImageSource(path, near)
        elif suffix in VIDEO_SUFFIXES:
            source = VideoSource(path)
        else:
            allowed = " ".join((*VIDEO_SUFFIXES, ".npy", ".bin", *also, *IMAGE_SUFFIXES))
            advice = remedy(suffix) or "unknown kind of input"
            raise JobError(f"{path.name}: {advice}; allowed are {allowed} and a folder or pattern of images")
    return _checked(source)


def open_material(source: ClipSource, near: tuple[int, int] | None = None) -> Source | FloatArrayReader:
    """Open a source of the timeline: a uint8 `Source`, or a `FloatArrayReader` for a float array.

    near  height and width to which frames will be scaled: much larger still images are read at a reduced size.
    Raises MissingInputError, or JobError (beginning with the file's name) if it has an unknown type, is
    damaged, has a wrong dtype or shape, or is a part outside its blob.
    """
    return _checked(_open(source, near))


def _checked(opened: Opened) -> Opened:
    """Return the source. Closes it and raises JobError if its frames are too large."""
    try:
        check_size(opened.name, opened.height, opened.width)
    except JobError:
        opened.close()
        raise
    return opened


def picked(opened: Source | FloatArrayReader, source: ClipSource) -> Sequence[int]:
    """Return the indices of the frames to use, in order: all frames of control, unless they are picked by time."""
    if source.kind != "video" and not source.picks:
        return range(opened.frames)
    timing = opened.timing if source.timed_by is None else clip_timing(source.timed_by)
    picks = picked_frames(timing, name=opened.name, fps=source.fps, start_s=source.start_s, end_s=source.end_s)
    return within(picks, opened.frames)


def clip_timing(path: Path) -> Timing:
    """Return the display times of a clip's frames. Raises as `open_source` does."""
    with open_source(path) as source:
        return source.timing


def _open(source: ClipSource, near: tuple[int, int] | None) -> Source | FloatArrayReader:
    path, part = source.path, source.part
    if part is not None:
        with opening(path) as is_folder:
            if is_folder:
                raise JobError(f"{path.name}: is a folder, not a data blob")
            if source.kind == "video":
                return ArraySource(path, locate_part(part, "uint8"))
            return FloatArrayReader(path, locate_part(part, "float32"), source.kind)
    if source.kind == "video":
        return open_source(path, near=near)
    # Masks are resized by nearest neighbour, so they are never read at a reduced size.
    return _open_control(source, source.kind, near if source.kind == "control" else None)


def _open_control(
    source: ClipSource, kind: Literal["control", "masks"], near: tuple[int, int] | None
) -> Source | FloatArrayReader:
    path = source.path
    suffix = path.suffix.lower()
    if is_pattern(path):
        return open_source(path, near=near)
    with opening(path) as is_folder:
        if not is_folder and suffix == SAFETENSORS:
            planes = FloatArrayReader(path, locate_tensor(TENSOR_NAMES[kind]), kind)
            planes.unread = other_tensors(path, TENSOR_NAMES[kind])
            return planes
        if not is_folder and suffix in PICKLE_SUFFIXES:
            raise pickle_refusal(path.name)
        if not is_folder and suffix == ".npy":
            with path.open("rb") as file:
                element = locate_npy(file, path.name).element
            if element != "uint8":
                return FloatArrayReader(path, locate_npy, kind)
    return open_source(path, (SAFETENSORS,), near)
