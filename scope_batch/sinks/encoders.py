"""Lists the encoders of a video output, their settings and defaults. No ffmpeg is started here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scope_batch.errors import JobError

_X26X_PRESETS = (
    "ultrafast superfast veryfast faster fast medium slow slower veryslow placebo".split()  # noqa: SIM905  (one line instead of ten)
)
_YUV = ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le")

OPTION_NAMES = ("codec", "crf", "preset", "pix_fmt")


@dataclass(frozen=True, slots=True)
class Encoder:
    """The options of one of ffmpeg's encoders.

    crf       default quality and the largest value allowed; None = it has no such option.
    presets   the names allowed, the default first; () = it has no such option.
    pix_fmts  the pixel formats allowed, the default first.
    args      what it is always given.
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
        # Without a bitrate of 0 crf is only a bound; good/4 is about realtime at 832x480 on four cores.
        ("-b:v", "0", "-deadline", "good", "-cpu-used", "4", "-row-mt", "1"),
    ),
    "ffv1": Encoder(("mkv",), ("bgr0", "yuv444p", "yuv420p"), args=("-level", "3", "-g", "1", "-slicecrc", "1")),
    "rawvideo": Encoder(("nut",), ("rgb24",)),
}

DEFAULT_CODEC: Mapping[str, str] = {
    "mp4": "libx264",
    "mov": "libx264",
    "mkv": "libx264",
    "webm": "libvpx-vp9",
    "nut": "rawvideo",
}
MUXERS: Mapping[str, str] = {"mp4": "mp4", "mov": "mov", "mkv": "matroska", "webm": "webm", "nut": "nut"}


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """An encoder and its settings, every default resolved. `crf` and `preset` are None where it has no such option."""

    codec: str
    crf: float | None
    preset: str | None
    pix_fmt: str


def resolve_options(container: str, given: Mapping[str, Any], where: str) -> VideoOptions:
    """The settings of a video output: `given` over the defaults of its container and encoder.

    Raises JobError, led by `where`, for an option that the encoder does not have or a value that it does not take.
    """
    given = {name: value for name, value in given.items() if value is not None}
    codec = given.get("codec", DEFAULT_CODEC[container])
    allowed = [name for name, encoder in ENCODERS.items() if container in encoder.containers]
    if codec not in allowed:
        raise JobError(f"{where}: codec {codec!r} does not go into {container}; allowed: {', '.join(allowed)}")
    encoder = ENCODERS[codec]
    for name in given:
        if name not in encoder.option_names:
            has = ", ".join(encoder.option_names)
            raise JobError(f"{where}: {codec} has no option {name!r}; allowed: {has}")
    return VideoOptions(
        codec=codec,
        crf=_crf(encoder, given.get("crf"), f"{where}: crf"),
        preset=_choice(encoder.presets, given.get("preset"), f"{where}: preset"),
        pix_fmt=_choice(encoder.pix_fmts, given.get("pix_fmt"), f"{where}: pix_fmt") or encoder.pix_fmts[0],
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
