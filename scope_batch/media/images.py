"""Frames from a folder of images, in natural order of their names (2 before 10), or from one image."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from scope_batch.errors import JobError
from scope_batch.media.source import MAX_FRAME_PIXELS, Frame, Source, opening
from scope_batch.timing import Timing

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP")
_EXIF_ORIENTATION = 0x0112
_TURNED = frozenset({5, 6, 7, 8})


class ImageFolderSource(Source):
    """Files with other names are no part of it, nor are hidden ones."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._paths = sorted(
            (p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")),
            key=lambda p: natural_key(p.name),
        )
        if not self._paths:
            raise JobError(f"{self.name}: the folder holds no images; allowed are {' '.join(IMAGE_SUFFIXES)}")
        self.width, self.height = size = image_size(self._paths[0])
        for other in self._paths[1:]:
            if (found := image_size(other)) != size:
                sizes = f"{found[0]}x{found[1]}, not {size[0]}x{size[1]}"
                raise JobError(f"{self.name}/{other.name}: is {sizes} as {self._paths[0].name}; all must be alike")
        self.timing = Timing.even(len(self._paths))

    def frame(self, index: int) -> Frame:
        frame = read_image(self._paths[index])
        if frame.shape != (self.height, self.width, 3):
            size = f"{frame.shape[1]}x{frame.shape[0]}, not {self.width}x{self.height} as its header said"
            raise JobError(f"{self.name}/{self._paths[index].name}: is {size}")
        return frame


class ImageSource(Source):
    """One image: a clip of one frame."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self.width, self.height = image_size(path)
        self.timing = Timing.even(1)

    def frame(self, index: int) -> Frame:
        assert index == 0
        frame = read_image(self._path)
        if frame.shape != (self.height, self.width, 3):
            raise JobError(f"{self.name}: has changed: it was {self.width}x{self.height}")
        return frame


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which runs of digits compare as numbers."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return (*((0, int(digits), "") if digits else (1, 0, text) for digits, text in parts), (2, 0, name))


def image_size(path: Path) -> tuple[int, int]:
    """Width and height as seen (EXIF applied), from the header alone. Raises JobError if it is no single image."""
    with _opened(path) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise JobError(f"{path.name}: is animated; only still images are allowed")
        width, height = image.size
        if width * height > MAX_FRAME_PIXELS:
            raise JobError(f"{path.name}: {width}x{height} pixels are too many")
        # The base class's: PNG's own would decode the whole image in search of EXIF data that stands after it.
        turned = Image.Image.getexif(image).get(_EXIF_ORIENTATION) in _TURNED
        return (height, width) if turned else (width, height)


def read_image(path: Path) -> Frame:
    """uint8 [H, W, 3]: EXIF orientation applied, transparency on white, 16-bit gray by its high byte.

    Raises JobError if it is damaged, cut short, or of a kind that has no plain RGB meaning.
    """
    with _opened(path) as image:
        try:
            upright = ImageOps.exif_transpose(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise JobError(f"{path.name}: is damaged or cut short: {error}") from error
        if upright.mode.startswith("I;16"):
            high = (np.asarray(upright) >> 8).astype(np.uint8)
            return np.repeat(high[..., None], 3, axis=2)
        if upright.mode in ("I", "F"):
            raise JobError(f"{path.name}: pixel mode {upright.mode} is not supported; save it as 8-bit RGB")
        if upright.has_transparency_data:
            return on_white(np.asarray(upright.convert("RGBA")))
        return np.asarray(upright.convert("RGB"))


def read_still(path: Path) -> Frame:
    """`read_image` of a file that stands for itself. Raises MissingInputError too, and JobError if it is animated."""
    with opening(path) as is_folder:
        if is_folder:
            raise JobError(f"{path.name}: is a folder, not an image")
        image_size(path)
        return read_image(path)


def on_white(rgba: NDArray[np.uint8]) -> Frame:
    """uint8 [H, W, 4] with straight alpha over white, rounded: uint8 [H, W, 3]."""
    alpha = rgba[..., 3:].astype(np.uint16)
    blended = (rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return blended.astype(np.uint8)


def _opened(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(path, formats=IMAGE_FORMATS)
    except UnidentifiedImageError as error:
        raise JobError(f"{path.name}: is not a readable PNG, JPEG or WebP image") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise JobError(f"{path.name}: has too many pixels: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise JobError(f"{path.name}: cannot be read: {error}") from error
