"""One picture of a file as RGB: upright, in sRGB, on white, never larger in memory than its use asks for."""

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
STILL_IN_SPITE_OF_FRAMES = "MPO"
"""A JPEG with further pictures inside, such as a preview or a second lens: the first picture is the photo."""
SPARE = 3
"""A picture is read at a reduced size that is still at least so many times the size asked for."""

_EXIF_ORIENTATION = 0x0112
_TURNED = frozenset({5, 6, 7, 8})

Near = tuple[int, int] | None
"""Height and width that a picture is going to be scaled to; None: it is needed as it is."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """width, height as seen (EXIF applied). notes, warnings: what was found, without the file's name."""

    width: int
    height: int
    animated: bool
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def image_facts(path: Path) -> ImageFacts:
    """From the header alone. Raises JobError if it is no picture or too large."""
    with warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always", UserWarning)
        with opened_image(path) as image:
            facts = _facts_of(image, path.name)
    if doubts:
        told = f"its header is damaged: {' '.join(str(doubts[0].message).split())}"
        return replace(facts, warnings=(*facts.warnings, told))
    return facts


def _facts_of(image: Image.Image, name: str) -> ImageFacts:
    width, height = image.size
    if width * height > MAX_FRAME_PIXELS:
        raise JobError(f"{name}: {width}x{height} pixels are too many, at most {MAX_FRAME_PIXELS:,} are read")
    animated = getattr(image, "n_frames", 1) > 1 and image.format != STILL_IN_SPITE_OF_FRAMES
    notes, warned = icc.notes_of(image)
    if image.has_transparency_data:
        notes = (*notes, "has an alpha channel, laid on white")
    return ImageFacts(*((height, width) if _is_turned(image) else (width, height)), animated, notes, warned)


def read_image(path: Path, near: Near = None, size: tuple[int, int] | None = None) -> Frame:
    """uint8 [H, W, 3]: EXIF orientation applied, in sRGB, transparency on white, 16-bit gray by its high byte.

    near  what is much larger may be read at a reduced size, a JPEG without ever being decoded in full.
    size  width and height that it had when it was looked at.
    Raises JobError if it is damaged, cut short, another than before, or of a kind that has no plain RGB meaning.
    """
    with without_doubts(), opened_image(path) as image:
        turned = _is_turned(image)
        upright_size = image.size[::-1] if turned else image.size
        if size is not None and upright_size != size:
            found = f"{upright_size[0]}x{upright_size[1]}"
            raise JobError(f"{path.name}: has changed: it was {size[0]}x{size[1]}, now it is {found}")
        if near is not None:
            wanted = (near[1] * SPARE, near[0] * SPARE)
            image.draft(image.mode, wanted[::-1] if turned else wanted)
        try:
            image.load()
            return rgb_of(ImageOps.exif_transpose(_reduced(image, near)), path.name)
        except (OSError, SyntaxError, ValueError) as error:
            raise JobError(f"{path.name}: is damaged or cut short: {error}") from error


def read_still(path: Path, near: Near = None) -> Frame:
    """`read_image` of a file that stands for itself. Raises MissingInputError too, and JobError if it is animated."""
    still_facts(path)
    return read_image(path, near)


def still_facts(path: Path) -> ImageFacts:
    """`image_facts` of a file that stands for itself. Raises MissingInputError too, and JobError if it is animated."""
    with opening(path) as is_folder:
        if is_folder:
            raise JobError(f"{path.name}: is a folder, not an image")
        facts = image_facts(path)
    if facts.animated:
        raise JobError(f"{path.name}: is animated; only still images are allowed here")
    return facts


def rgb_of(image: Image.Image, name: str) -> Frame:
    """A loaded picture of any mode as uint8 [H, W, 3] in sRGB on white."""
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
    """uint8 [H, W, 4] with straight alpha over white, rounded: uint8 [H, W, 3]."""
    blended = np.empty((*rgba.shape[:2], 3), np.uint8)
    for row, above in zip(
        blended, rgba, strict=True
    ):  # row by row: a large picture fits into memory twice, not six times
        alpha = above[:, 3:].astype(np.uint16)
        row[...] = (above[:, :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return blended


@contextmanager
def without_doubts() -> Iterator[None]:
    """Around the reading of a picture: what Pillow doubts in its header was told by `image_facts`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """The file opened, nothing decoded. Raises JobError if it is no picture of a known format."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path, formats=IMAGE_FORMATS)
    except UnidentifiedImageError as error:
        with path.open("rb") as file:
            what = stand_in(file.read(START_BYTES))
        raise JobError(f"{path.name}: is {what or 'not a readable PNG, JPEG or WebP image'}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise JobError(f"{path.name}: has too many pixels: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise JobError(f"{path.name}: cannot be read: {error}") from error
    with image:
        yield image


def _is_turned(image: Image.Image) -> bool:
    # The base class's: PNG's own would decode the whole image in search of EXIF data that stands after it.
    return Image.Image.getexif(image).get(_EXIF_ORIENTATION) in _TURNED


def _reduced(image: Image.Image, near: Near) -> Image.Image:
    """A loaded picture that is many times larger than needed, made smaller by a whole number."""
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
