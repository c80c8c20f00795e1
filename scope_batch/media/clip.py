"""What ffmpeg says about a video file: streams, size, and the time of every frame.

imageio-ffmpeg ships no ffprobe. Packets are counted without decoding; a decode of the first frames gives the size after
rotation, and shows whether every packet becomes a frame. Where it does not (edit lists, leading pictures that cannot be
decoded, invisible frames) the whole clip is decoded once instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from scope_batch.errors import JobError
from scope_batch.media.ffmpeg import LOCAL_FILES, QUIET, file_url, last_lines, run_quiet
from scope_batch.timing import Timing

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".gif", ".nut")
DEMUXERS = "mov,mp4,matroska,webm,gif,nut"
"""Playlists and the like, which name other files, are not among them, whatever the file is called."""

HEAD_FRAMES = 32
HIDDEN_FRAME_CODECS = frozenset({"vp8"})
"""Codecs whose packets may hold a frame that is never shown."""
HD_WIDTH, HD_HEIGHT = 1280, 720
"""From here on, YUV without a colour tag is taken as BT.709, below as BT.601: what cameras and players do."""

_STREAM = re.compile(r"^\[info\]   Stream #0:(\d+)\S*: (\w+): (.*)$", re.M)
_PICTURE = re.compile(r"^(?P<codec>\w+).*?, (?P<pixels>[a-z]\w*)(?:\((?P<tags>[^)]*)\))?, \d+x\d+")
_MAPPED = re.compile(r"^\[info\]   Stream #0:(\d+) -> #0:0", re.M)
_NOT_MATRICES = frozenset({"tv", "pc", "unknown", "progressive"})
_ALPHA = re.compile(r"^(rgba|bgra|argb|abgr|gbrap|yuva|ya\d|ayuv|vuya|pal8)")
_YUV = re.compile(r"^(yuv(?!j)|yuyv|uyvy|nv|p0|p2|p4|y2|xv)")
_SPEAKER = re.compile(r"^(\[[^]]*\] )*")
_PACKET_DISCARD = 4
_NO_TIME = -(1 << 63)


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """width, height: pixels after rotation, made square. alpha: frames carry transparency.
    matrix: YUV matrix to assume, "auto" = as tagged. offset_s: first frame's time from the start of the file.
    """

    width: int
    height: int
    timing: Timing
    has_audio: bool
    alpha: bool
    matrix: str
    offset_s: Fraction


@dataclass(frozen=True, slots=True)
class _Listing:
    """A framecrc listing: sorted times (ticks) of what will be shown, duration of the last, size, pixel aspect."""

    ticks: list[int]
    last_ticks: int
    tick_s: Fraction
    width: int
    height: int
    aspect: Fraction

    def times(self, count: int) -> list[Fraction]:
        return [tick * self.tick_s for tick in self.ticks[:count]]


def input_args(path: Path) -> list[str]:
    """ffmpeg arguments that open `path`, as one of the containers known here and nothing else."""
    return ["-xerror", *LOCAL_FILES, "-format_whitelist", DEMUXERS, "-i", file_url(path)]


def probe_video(path: Path) -> VideoFacts:
    """Facts of the file's first video stream that is not an attached picture.

    Raises JobError if it is no such video, is cut short or damaged, or its first frames cannot be decoded.
    """
    report, packets = _packets(path)
    if path.suffix.lower() == ".gif":
        _check_gif_trailer(path)
    codec, pixels, tags = _picture(path, report)
    head = _decoded(path, HEAD_FRAMES)
    alike = packets is not None and packets.times(HEAD_FRAMES) == head.times(HEAD_FRAMES)
    shown = packets if packets is not None and alike and codec not in HIDDEN_FRAME_CODECS else _decoded(path, None)
    return VideoFacts(
        width=max(1, round(head.width * head.aspect)),
        height=head.height,
        timing=Timing.of_ticks(shown.ticks, shown.last_ticks, shown.tick_s),
        has_audio=any(kind == "Audio" for _, kind, _ in _STREAM.findall(report)),
        alpha=bool(_ALPHA.match(pixels)),
        matrix=_matrix(codec, pixels, tags, head.width, head.height),
        offset_s=shown.ticks[0] * shown.tick_s,
    )


def has_sound(path: Path, demuxers: str = DEMUXERS) -> bool:
    """Whether `path` is a file that ffmpeg can open and has a sound track."""
    args = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "error", *LOCAL_FILES, "-format_whitelist", demuxers]
    return (
        run_quiet([*args, "-i", file_url(path), "-map", "0:a:0", "-c", "copy", "-t", "0", "-f", "null", "-"]).returncode
        == 0
    )


def _packets(path: Path) -> tuple[str, _Listing | None]:
    """What ffmpeg reports on the streams, and the packets; None if their times cannot be listed without decoding."""
    base = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info"]
    done = run_quiet([*base, *input_args(path), "-map", "0:V:0", "-c", "copy", "-copyinkf", "-f", "framecrc", "-"])
    streams = _STREAM.findall(done.stderr.partition("Stream mapping:")[0])
    if streams and not any(kind == "Video" and "(attached pic)" not in text for _, kind, text in streams):
        # An index that ends too early leaves a stream of no kind.
        damaged = any(text.startswith("none") for _, _, text in streams)
        raise JobError(f"{path.name}: has no video stream" + (" that is whole: it is cut short" if damaged else ""))
    errors = [line for line in done.stderr.splitlines() if re.search(r"\[(error|fatal)\] ", line)]
    of_input = [line for line in errors if not line.startswith(("[out#", "[vost#"))]
    if of_input and not streams:
        raise JobError(f"{path.name}: cannot be read as one of {' '.join(VIDEO_SUFFIXES)}: {_words(of_input)}")
    if of_input:
        raise JobError(f"{path.name}: is damaged or cut short: {_words(of_input)}")
    return done.stderr, None if errors or done.returncode else _listing(path, done.stdout)


def _decoded(path: Path, count: int | None) -> _Listing:
    limit = [] if count is None else ["-frames:v", str(count)]
    output = ["-map", "0:V:0", *limit, "-fps_mode", "passthrough", "-enc_time_base", "demux", "-f", "framecrc", "-"]
    done = run_quiet([*QUIET, *input_args(path), *output])
    errors = done.stderr.splitlines()
    if any(line.startswith("[in#") for line in errors):
        raise JobError(f"{path.name}: is damaged or cut short: {_words(errors)}")
    if done.returncode or errors:
        raise JobError(f"{path.name}: cannot be decoded: {_words(errors)}")
    return _listing(path, done.stdout)


def _words(lines: list[str]) -> str:
    return last_lines("\n".join(_SPEAKER.sub("", line) for line in lines))


def _listing(path: Path, text: str) -> _Listing:
    header: dict[str, str] = {}
    shown: list[tuple[int, int]] = []
    for line in text.splitlines():
        if line.startswith("#"):
            key, _, value = line[1:].partition(" 0: ")
            header[key] = value
            continue
        _, _, pts, duration, _, _, *extra = (field.strip() for field in line.split(","))
        flags = next((int(field[2:], 16) for field in extra if field.startswith("F=")), 0)
        if not flags & _PACKET_DISCARD:
            shown.append((int(pts), int(duration)))
    shown.sort()
    if not shown:
        raise JobError(f"{path.name}: holds no frames")
    if shown[0][0] == _NO_TIME:
        raise JobError(f"{path.name}: its frames carry no times; remux it first")
    width, height = map(int, header["dimensions"].split("x"))
    numerator, denominator = map(int, header["sar"].split("/"))
    aspect = Fraction(numerator, denominator) if numerator and denominator else Fraction(1)
    return _Listing([pts for pts, _ in shown], shown[-1][1], Fraction(header["tb"]), width, height, aspect)


def _picture(path: Path, report: str) -> tuple[str, str, list[str]]:
    mapped = _MAPPED.search(report)
    streams = {index: text for index, _, text in _STREAM.findall(report.partition("Stream mapping:")[0])}
    picture = _PICTURE.match(streams[mapped[1]]) if mapped else None
    if picture is None:
        raise JobError(f"{path.name}: its video stream is of a kind that this ffmpeg cannot decode")
    return picture["codec"], picture["pixels"], (picture["tags"] or "").split(", ")


def _matrix(codec: str, pixels: str, tags: list[str], width: int, height: int) -> str:
    names = {tag.split("/")[0] for tag in tags if tag and " " not in tag}
    if names - _NOT_MATRICES or not _YUV.match(pixels) or codec == "mjpeg":
        return "auto"
    return "bt709" if width >= HD_WIDTH or height >= HD_HEIGHT else "bt601"


def _check_gif_trailer(path: Path) -> None:
    """A GIF that was cut short decodes without a complaint, with torn frames: only its last byte tells."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 512))
        if not file.read().rstrip(b"\0").endswith(b";"):
            raise JobError(f"{path.name}: is damaged or cut short: the GIF trailer is missing")
