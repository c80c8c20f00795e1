"""Lists the encoders of a video output, their settings and defaults. Starts no ffmpeg."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scope_batch.core.output_formats import OUTPUT_FORMATS
from scope_batch.errors import JobError

_X26X_PRESETS = (
    "ultrafast superfast veryfast faster fast medium slow slower veryslow placebo".split()  # noqa: SIM905  (one line instead of ten)
)
_YUV = ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le")

OPTION_NAMES = ("codec", "crf", "preset", "pix_fmt")


@dataclass(frozen=True, slots=True)
class Encoder:
    """The options of one of ffmpeg's encoders.

    crf       default quality and the largest value allowed; None = no such option.
    presets   the names allowed, the default first; () = no such option.
    pix_fmts  the pixel formats allowed, the default first.
    args      further ffmpeg arguments, always passed.
    """

    containers: tuple[str, ...]
    pix_fmts: tuple[str, ...]
    crf: tuple[int, int] | None = None
    presets: tuple[str, ...] = ()
    args: tuple[str, ...] = ()

    @property
    def option_names(self) -> list[str]:
        has = {"codec": True, "crf": self.crf is not None, "preset": bool(self.presets), "pix_fmt": True}
        return [name for name in OPTION_NAMES if has[name]]


ENCODERS: Mapping[str, Encoder] = {
    "libx264": Encoder(("mp4", "mov", "mkv"), _YUV, (14, 51), ("veryfast", *_X26X_PRESETS)),
    "libx265": Encoder(
        ("mp4", "mov", "mkv"),
        _YUV,
        (18, 51),
        ("veryfast", *_X26X_PRESETS),
        ("-x265-params", "log-level=error", "-tag:v", "hvc1"),
    ),
    "libvpx-vp9": Encoder(
        ("webm", "mkv", "mp4"),
        ("yuv420p", "yuv444p"),
        (20, 63),
        (),
        # crf sets the quality only if the bitrate is 0; good/4 is about realtime at 832x480 on four cores.
        ("-b:v", "0", "-deadline", "good", "-cpu-used", "4", "-row-mt", "1"),
    ),
    "ffv1": Encoder(("mkv",), ("bgr0", "yuv444p", "yuv420p"), args=("-level", "3", "-g", "1", "-slicecrc", "1")),
    "rawvideo": Encoder(("nut",), ("rgb24",)),
}

DEFAULT_CODEC: Mapping[str, str] = {name: form.codec for name, form in OUTPUT_FORMATS.items() if form.codec}
"""Container -> its default encoder."""


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """An encoder and its settings, every default resolved. `crf` and `preset` are None if it has no such option."""

    codec: str
    crf: float | None
    preset: str | None
    pix_fmt: str


def resolve_options(container: str, options: Mapping[str, Any], where: str) -> VideoOptions:
    """Complete `options` with the defaults of the container and its encoder.

    Raises JobError, which begins with `where`, for an option or a value that the encoder does not have.
    """
    options = {name: value for name, value in options.items() if value is not None}
    codec = options.get("codec", DEFAULT_CODEC[container])
    allowed = [name for name, encoder in ENCODERS.items() if container in encoder.containers]
    if codec not in allowed:
        raise JobError(f"{where}: codec {codec!r} cannot be stored in {container}; allowed: {', '.join(allowed)}")
    encoder = ENCODERS[codec]
    for name in options:
        if name not in encoder.option_names:
            allowed_names = ", ".join(encoder.option_names)
            raise JobError(f"{where}: {codec} has no option {name!r}; allowed: {allowed_names}")
    return VideoOptions(
        codec=codec,
        crf=_crf(encoder, options.get("crf"), f"{where}: crf"),
        preset=_choice(encoder.presets, options.get("preset"), f"{where}: preset"),
        pix_fmt=_choice(encoder.pix_fmts, options.get("pix_fmt"), f"{where}: pix_fmt") or encoder.pix_fmts[0],
    )


def _crf(encoder: Encoder, value: object, where: str) -> float | None:
    if encoder.crf is None:
        return None
    default, largest = encoder.crf
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= largest:
        raise JobError(f"{where}: {value!r} is not a number in 0..{largest}")
    return value


def _choice(allowed: tuple[str, ...], value: object, where: str) -> str | None:
    if value is None:
        return allowed[0] if allowed else None
    if not isinstance(value, str) or value not in allowed:
        raise JobError(f"{where}: {value!r} is not known; allowed: {', '.join(dict.fromkeys(allowed))}")
    return value
