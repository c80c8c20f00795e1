"""Recognises files of the wrong kind by their first bytes or their suffix, and advises how to convert them."""

from __future__ import annotations

START_BYTES = 64
"""Number of bytes from the start of a file that `described` needs."""

_BY_START = (
    (b"version https://git-lfs", "a Git LFS pointer, which `git lfs pull` replaces by the file"),
    (b"PK\x03\x04", "a pickle of torch.save (or another archive)"),
    (b"\x80", "a pickle"),
    (b"<", "a web page"),
)
_PLACEHOLDERS = (b"version https://git-lfs", b"<!doctype html", b"<html", b"<?xml")
"""Beginnings, in lower case, of placeholders for a file that was not downloaded."""

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
    """Return the kind of a file that begins with `start`: "a Git LFS pointer, which ..."; "" for an unknown one."""
    return next((kind for magic, kind in _BY_START if start.startswith(magic)), "")


def stand_in(start: bytes) -> str:
    """Return the kind of a placeholder for a file, a Git LFS pointer or a web page; "" for any other start."""
    return described(start) if start.lower().startswith(_PLACEHOLDERS) else ""


def remedy(suffix: str) -> str:
    """Return how to convert a file of a known but unsupported type (".heic"); "" for any other."""
    return _REMEDIES.get(suffix.lower(), "")
