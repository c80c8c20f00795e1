"""Recognises files of the wrong kind by their first bytes or their suffix, and advises how to convert them."""

from __future__ import annotations

START_BYTES = 64
"""How much of a file `described` needs."""

_BY_START = (
    (b"version https://git-lfs", "a Git LFS pointer, which `git lfs pull` replaces by the file"),
    (b"PK\x03\x04", "a pickle of torch.save (or another archive)"),
    (b"\x80", "a pickle"),
    (b"<", "a web page"),
)
_STANDS_IN = (b"version https://git-lfs", b"<!doctype html", b"<html", b"<?xml")
"""Beginnings, in small letters, of what stands in the place of a file that was not fetched."""

_TO_JPEG = "convert it to .jpg or .png"
TO_MP4 = "convert it to .mp4: ffmpeg -i IN -crf 14 out.mp4"
_REMEDIES = {
    **dict.fromkeys((".heic", ".heif", ".avif", ".jxl", ".jp2"), _TO_JPEG),
    **dict.fromkeys((".tif", ".tiff", ".bmp", ".tga", ".exr", ".dpx", ".psd", ".svg", ".hdr"), "convert it to .png"),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf"), _TO_JPEG),
    **dict.fromkeys((".wmv", ".asf", ".flv", ".f4v", ".mxf", ".ogv", ".ogg", ".rm", ".vob", ".y4m"), TO_MP4),
    **dict.fromkeys((".h264", ".264", ".h265", ".265", ".hevc", ".ivf", ".obu", ".m2v"), TO_MP4),
    **dict.fromkeys((".npz", ".mat"), "save the frames as .npy: uint8 [T, H, W, 3]"),
    **dict.fromkeys((".zip", ".tar", ".gz", ".7z", ".rar"), "unpack it"),
}


def described(start: bytes) -> str:
    """What a file is that begins with `start`: "a Git LFS pointer, which ..."; "" for anything else."""
    return next((what for magic, what in _BY_START if start.startswith(magic)), "")


def stand_in(start: bytes) -> str:
    """The same, but only for what is never the file itself: a Git LFS pointer, a web page."""
    return described(start) if start.lower().startswith(_STANDS_IN) else ""


def remedy(suffix: str) -> str:
    """What a file of a known but unreadable kind (".heic") should be converted to; "" for any other."""
    return _REMEDIES.get(suffix.lower(), "")
