"""Opens control frames, masks and clips, whatever kind of file they are in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

from scope_batch.core.timeline import ClipSource
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

    also  suffixes that the caller reads in another way, for the message about an unknown one.
    near  height and width that frames will be scaled to: much larger still images are read at a reduced size.
    Raises MissingInputError if there is nothing, JobError for what is unknown, damaged or too large.
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
            what = remedy(suffix) or "unknown kind of input"
            raise JobError(f"{path.name}: {what}; allowed are {allowed} and a folder or pattern of images")
    return _checked(source)


def open_material(material: ClipSource, near: tuple[int, int] | None = None) -> Source | FloatArrayReader:
    """A uint8 source for what looks like a video, `FloatArrayReader` for a float array.

    near  height and width that frames will be scaled to: much larger still images are read at a reduced size.
    Raises MissingInputError, or JobError (beginning with the file's name) if it is of an unknown kind, damaged, of
    another dtype or shape than its kind allows, or a part that does not lie inside its blob.
    """
    return _checked(_open(material, near))


def _checked(opened: Opened) -> Opened:
    """Closes it and raises JobError if its frames are too large."""
    try:
        check_size(opened.name, opened.height, opened.width)
    except JobError:
        opened.close()
        raise
    return opened


def picked(opened: Source | FloatArrayReader, material: ClipSource) -> Sequence[int]:
    """Which of its frames count, in order. Control frames count one by one, however long each is shown."""
    if material.kind != "video" and not material.picks:
        return range(opened.frames)
    timing = opened.timing if material.timed_by is None else clip_timing(material.timed_by)
    picks = picked_frames(timing, name=opened.name, fps=material.fps, start_s=material.start_s, end_s=material.end_s)
    return within(picks, opened.frames)


def clip_timing(path: Path) -> Timing:
    """When the frames of a clip are shown. Raises as `open_source` does."""
    with open_source(path) as source:
        return source.timing


def _open(material: ClipSource, near: tuple[int, int] | None) -> Source | FloatArrayReader:
    path, part = material.path, material.part
    if part is not None:
        with opening(path) as is_folder:
            if is_folder:
                raise JobError(f"{path.name}: is a folder, not a data blob")
            if material.kind == "video":
                return ArraySource(path, locate_part(part, "uint8"))
            return FloatArrayReader(path, locate_part(part, "float32"), material.kind)
    if material.kind == "video":
        return open_source(path, near=near)
    # Of a mask the nearest pixel counts, so it is never read at a reduced size.
    return _open_control(material, material.kind, near if material.kind == "frames" else None)


def _open_control(
    material: ClipSource, kind: Literal["frames", "masks"], near: tuple[int, int] | None
) -> Source | FloatArrayReader:
    path = material.path
    suffix = path.suffix.lower()
    if is_pattern(path):
        return open_source(path, near=near)
    with opening(path) as is_folder:
        if not is_folder and suffix == SAFETENSORS:
            planes = FloatArrayReader(path, locate_tensor(kind), kind)
            planes.unread = other_tensors(path, kind)
            return planes
        if not is_folder and suffix in PICKLE_SUFFIXES:
            raise pickle_refusal(path.name)
        if not is_folder and suffix == ".npy":
            with path.open("rb") as file:
                element = locate_npy(file, path.name).element
            if element != "uint8":
                return FloatArrayReader(path, locate_npy, kind)
    return open_source(path, (SAFETENSORS,), near)
