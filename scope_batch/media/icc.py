"""Reads colour profiles of pictures, and converts pixels to sRGB through LittleCMS."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageCms

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Colour space of a profile -> Pillow's mode of its pixels."""
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
_ROUNDING = 1
"""A profile that changes no level by more than this counts as sRGB."""
_EXIF_PART, _EXIF_COLOUR_SPACE = 0x8769, 0xA001
_INTEROPERABILITY_PART, _INTEROPERABILITY_INDEX = 0xA005, 1


def notes_of(image: Image.Image) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (notes, warnings) about the colours of an opened picture, from its header."""
    profile = image.info.get("icc_profile")
    if not profile:
        return (), _undeclared(image)
    try:
        transform, name = _to_srgb(profile)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return (), ("its colour profile is damaged: its colours are read as sRGB",)
    return ((f"{name} colours, converted to sRGB",) if transform else ()), ()


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert an opaque picture of any mode to sRGB; without a readable profile its colours count as sRGB."""
    try:
        transform, _ = _to_srgb(profile) if profile else (None, "")
    except (ImageCms.PyCMSError, OSError, ValueError):
        transform = None
    if transform is None:
        return image.convert("RGB")
    if image.mode != transform.input_mode:
        if transform.input_mode == "CMYK":  # the profile does not fit the picture's mode
            return image.convert("RGB")
        image = image.convert(transform.input_mode)
    converted = transform.apply(image)
    assert converted is not None
    return converted


@lru_cache(16)
def _to_srgb(profile: bytes) -> tuple[ImageCms.ImageCmsTransform | None, str]:
    """Return the transform (None: no change) and the profile's name. Raises PyCMSError, OSError or ValueError."""
    opened = ImageCms.ImageCmsProfile(BytesIO(profile))
    name = " ".join(ImageCms.getProfileDescription(opened).split()) or "its profile's"
    mode = _MODES.get(opened.profile.xcolor_space.strip())
    if mode is None:
        raise ValueError(f"profile of {opened.profile.xcolor_space}")
    transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, "RGB", _INTENT, _FLAGS)
    assert isinstance(transform, ImageCms.ImageCmsTransform)
    return (transform if mode == "CMYK" or _moves(transform, mode) else None), name


def _moves(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Return whether the transform changes a chart of colours by more than rounding."""
    steps = range(0, 256, 51)
    levels = bytes(level for r in steps for g in steps for b in steps for level in (r, g, b))
    chart = Image.frombytes(mode, (len(levels) // len(mode), 1), levels)
    before, after = chart.convert("RGB").tobytes(), transform.apply(chart)
    assert after is not None
    return any(abs(a - b) > _ROUNDING for a, b in zip(before, after.tobytes(), strict=True))


def _undeclared(image: Image.Image) -> tuple[str, ...]:
    """Return a warning for Adobe RGB that is marked in EXIF alone, without a profile, as cameras do."""
    exif = Image.Image.getexif(image)  # the base class's: PNG's own would decode the whole picture
    part = exif.get_ifd(_EXIF_PART)
    interoperability = exif.get_ifd(_INTEROPERABILITY_PART) if _INTEROPERABILITY_PART in part else {}
    index = str(interoperability.get(_INTEROPERABILITY_INDEX, "")).strip("\0 ")
    if index == "R03" or part.get(_EXIF_COLOUR_SPACE) == 2:
        return ("its EXIF data says Adobe RGB, but it carries no profile: its colours are read as sRGB",)
    return ()
