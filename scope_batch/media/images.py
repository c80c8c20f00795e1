"""Reads a still image as upright RGB in sRGB on white, at a reduced size if it is much larger than needed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from scope_batch.errors import JobError
from scope_batch.files.kinds import START_BYTES, stand_in
from scope_batch.media import icc
from scope_batch.media.source import MAX_FRAME_PIXELS, Frame, opening

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
MULTI_PICTURE_JPEG = "MPO"
"""A JPEG with further pictures inside, such as a preview or a second lens; its first picture is read."""
SPARE = 3
"""A picture is reduced at most to this multiple of the needed size."""

_EXIF_ORIENTATION = 0x0112
_TURNED = frozenset({5, 6, 7, 8})

Near = tuple[int, int] | None
"""Height and width to which a picture will be scaled; None: its full size is needed."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts of an image. width, height: after EXIF orientation. notes, warnings: without the file's name."""

    width: int
    height: int
    animated: bool
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def image_facts(path: Path) -> ImageFacts:
    """Read the facts from the header. Raises JobError if it is not a picture or too large."""
    with warnings.catch_warnings(record=True) as header_warnings:
        warnings.simplefilter("always", UserWarning)
        with opened_image(path) as image:
            facts = _facts_of(image, path.name)
    if header_warnings:
        warning = f"its header is damaged: {' '.join(str(header_warnings[0].message).split())}"
        return replace(facts, warnings=(*facts.warnings, warning))
    return facts


def _facts_of(image: Image.Image, name: str) -> ImageFacts:
    width, height = image.size
    if width * height > MAX_FRAME_PIXELS:
        raise JobError(f"{name}: {width}x{height} pixels are too many, at most {MAX_FRAME_PIXELS:,} are read")
    animated = getattr(image, "n_frames", 1) > 1 and image.format != MULTI_PICTURE_JPEG
    notes, warned = icc.notes_of(image)
    if image.has_transparency_data:
        notes = (*notes, "has an alpha channel, laid on white")
    return ImageFacts(*((height, width) if _is_turned(image) else (width, height)), animated, notes, warned)


def read_image(path: Path, near: Near = None, size: tuple[int, int] | None = None) -> Frame:
    """Return uint8 [H, W, 3]: EXIF orientation applied, in sRGB, on white, 16-bit gray by its high byte.

    near  a much larger picture is read at a reduced size, a JPEG without decoding it in full.
    size  width and height when it was probed.
    Raises JobError if it is damaged, cut short, has changed, or has a pixel mode that is not supported.
    """
    with pillow_warnings_off(), opened_image(path) as image:
        turned = _is_turned(image)
        upright_size = image.size[::-1] if turned else image.size
        if size is not None and upright_size != size:
            now = f"{upright_size[0]}x{upright_size[1]}"
            raise JobError(f"{path.name}: has changed: it was {size[0]}x{size[1]}, now it is {now}")
        if near is not None:
            needed = (near[1] * SPARE, near[0] * SPARE)
            image.draft(image.mode, needed[::-1] if turned else needed)
        try:
            image.load()
            return rgb_of(ImageOps.exif_transpose(_reduced(image, near)), path.name)
        except (OSError, SyntaxError, ValueError) as error:
            raise JobError(f"{path.name}: is damaged or cut short: {error}") from error


def read_still(path: Path, near: Near = None) -> Frame:
    """`read_image` for a single still image. Also raises MissingInputError, and JobError if it is animated."""
    still_facts(path)
    return read_image(path, near)


def still_facts(path: Path) -> ImageFacts:
    """`image_facts` for a single still image. Also raises MissingInputError, and JobError if it is animated."""
    with opening(path) as is_folder:
        if is_folder:
            raise JobError(f"{path.name}: is a folder, not an image")
        facts = image_facts(path)
    if facts.animated:
        raise JobError(f"{path.name}: is animated; only still images are allowed here")
    return facts


def rgb_of(image: Image.Image, name: str) -> Frame:
    """Convert a loaded picture of any mode to uint8 [H, W, 3] in sRGB on white."""
    if image.mode.startswith("I;16"):
        high = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(high[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise JobError(f"{name}: pixel mode {image.mode} is not supported; save it as 8-bit RGB")
    profile = image.info.get("icc_profile")
    if not image.has_transparency_data:
        return np.asarray(icc.to_srgb(image, profile))
    straight = image.convert("RGBA")
    rgb = icc.to_srgb(straight.convert("RGB"), profile)
    rgb.putalpha(straight.getchannel("A"))
    return on_white(np.asarray(rgb))


def on_white(rgba: NDArray[np.uint8]) -> Frame:
    """Composite uint8 [H, W, 4] with straight alpha on white; returns uint8 [H, W, 3], rounded."""
    blended = np.empty((*rgba.shape[:2], 3), np.uint8)
    for row, above in zip(
        blended, rgba, strict=True
    ):  # row by row: a large picture fits into memory twice, not six times
        alpha = above[:, 3:].astype(np.uint16)
        row[...] = (above[:, :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return blended


@contextmanager
def pillow_warnings_off() -> Iterator[None]:
    """Suppress Pillow's warnings about a header, which `image_facts` reports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """Open a picture without decoding it. Raises JobError if it has no supported format."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path, formats=IMAGE_FORMATS)
    except UnidentifiedImageError as error:
        with path.open("rb") as file:
            kind = stand_in(file.read(START_BYTES))
        raise JobError(f"{path.name}: is {kind or 'not a readable PNG, JPEG or WebP image'}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise JobError(f"{path.name}: has too many pixels: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise JobError(f"{path.name}: cannot be read: {error}") from error
    with image:
        yield image


def _is_turned(image: Image.Image) -> bool:
    # The base class's method: PNG's own decodes the whole image to find EXIF data after it.
    return Image.Image.getexif(image).get(_EXIF_ORIENTATION) in _TURNED


def _reduced(image: Image.Image, near: Near) -> Image.Image:
    """Reduce a loaded picture that is many times larger than needed by a whole factor."""
    if near is None or image.mode.startswith("I;16"):
        return image
    height, width = near[::-1] if _is_turned(image) else near
    factor = min(image.height // (SPARE * height), image.width // (SPARE * width))
    if factor < 2:
        return image
    if image.mode in ("P", "1") or (image.has_transparency_data and image.mode not in ("RGBA", "LA")):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    reduced = image.reduce(factor)
    reduced.info = image.info
    return reduced
