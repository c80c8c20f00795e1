"""Facts of a video file: its streams, the time of every frame, and where its frames change size or colours.

imageio-ffmpeg ships no ffprobe. Packets are counted without decoding. Decoding the first frames gives the size after
rotation, and shows whether every packet becomes a frame; decoding the key frames shows whether size or colours change.
Where packets and frames differ (edit lists, leading pictures that cannot be decoded, invisible frames), or the clip
changes on the way, it is decoded once as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from scope_batch.core.timing import Timing
from scope_batch.errors import JobError
from scope_batch.media.colour import EXPORT_AS
from scope_batch.media.ffmpeg import DECODER_LIMITS, LOCAL_FILES, file_url, run_quiet
from scope_batch.media.frame_list import SQUARE_SIZE, FrameList, Look, decoded_frames, listed_packets, plain_words
from scope_batch.media.source import check_size

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".gif", ".nut"
)  # fmt: skip
DEMUXERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,gif,nut"
"""Playlists and the like, which name other files, are not among them, whatever the file is called."""

HEAD_FRAMES, MIN_HEAD_FRAMES = 32, 4
HEAD_PIXELS = 1 << 27
"""The first frames are fewer when they are huge: 16 of 4K."""
MAX_CLIP_PIXELS = 8192 * 4352
"""Pixels of a frame: 8K."""
HIDDEN_FRAME_CODECS = frozenset({"vp8"})
"""Codecs whose packets may hold a frame that is never shown."""
UNCHANGING_CODECS = frozenset(
    ("rawvideo", "ffv1", "huffyuv", "ffvhuff", "utvideo", "v210", "prores", "dnxhd", "cfhd", "qtrle", "gif")
)
"""Codecs of key frames alone whose size and colours stand once for the whole clip: one look is enough."""
RESIZING_CODECS = frozenset(("vp9", "av1"))
"""Codecs that change their size between key frames too: live encoders do so when the line is slow."""
WHOLE_LOOK_PIXELS = 1 << 32
"""Pixels of all frames up to which such a clip is decoded as a whole to find out: 2,000 frames of 1080p."""
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""ffmpeg's own decoders of these pass over the second stream that holds the alpha channel."""
PROBES_KEPT = 64
CHANGES_SHOWN = 6

_STREAM = re.compile(r"^\[info\]   Stream #0:(\d+)\S*: (\w+): (.*)$", re.M)
_CODEC = re.compile(r"(\w+)")
_DECLARED = re.compile(r", (\d+)x(\d+)")
_MAPPED = re.compile(r"^\[info\]   Stream #0:(\d+) -> #0:0", re.M)
_ATTACHED = "(attached pic)"
_DOLBY_VISION = re.compile(r"DOVI configuration record: .*?profile: 5\b")


@dataclass(frozen=True, slots=True)
class Part:
    """Frames of one size and one kind of colours, from frame `first` on.

    width, height: with square pixels. filters: for ffmpeg, to raw RGB frames of that size. channels: 4 with alpha.
    """

    first: int
    width: int
    height: int
    filters: str
    channels: int


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """parts: at least one. changes: how often its decoder reports other parameters on the way. decoder: "" = ffmpeg's
    choice. offset_s: first frame's time from the start of the file. ordered: each frame is shown later than the one
    before. notes: what is worth knowing, without its name.
    """

    parts: tuple[Part, ...]
    changes: int
    timing: Timing
    has_audio: bool
    decoder: str
    offset_s: Fraction
    ordered: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Streams:
    """What ffmpeg reports before it decodes anything: codec and pixels per frame of the first video stream, and the
    others."""

    codec: str
    pixels: int
    alpha: bool
    videos: int
    has_audio: bool


def input_args(path: Path, decoder: str = "") -> list[str]:
    """ffmpeg arguments that open `path`, as one of the containers known here and nothing else."""
    chosen = ["-max_pixels", str(MAX_CLIP_PIXELS), *(["-c:v", decoder] if decoder else [])]
    return [*DECODER_LIMITS, *LOCAL_FILES, "-format_whitelist", DEMUXERS, *chosen, "-i", file_url(path)]


def probe_video(path: Path) -> VideoFacts:
    """Facts of the file's first video stream that is not an attached picture; kept while the file stays as it is.

    Raises JobError if it is no such video, is cut short or damaged, or its first frames cannot be decoded.
    """
    status = path.stat()
    return _probe(path.absolute(), status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(PROBES_KEPT)
def _probe(path: Path, *_: int) -> VideoFacts:
    streams, packets = _packets(path)
    if path.suffix.lower() == ".gif":
        _check_gif_trailer(path)
    decoder = ALPHA_DECODERS.get(streams.codec, "") if streams.alpha else ""
    opened = input_args(path, decoder)
    count = max(MIN_HEAD_FRAMES, min(HEAD_FRAMES, HEAD_PIXELS // max(1, streams.pixels)))
    head = decoded_frames(path, opened, count=count)
    alike = packets is not None and packets.times(count) == head.times(count)
    shown = head
    counted = alike and packets is not None and packets.ordered and streams.codec not in HIDDEN_FRAME_CODECS
    if packets is None or not counted or head.changes or _may_change(path, opened, streams, packets):
        packets = shown = decoded_frames(path, opened)
    return VideoFacts(
        parts=tuple(_parts(path, shown)),
        changes=shown.changes,
        timing=Timing.of_ticks(packets.ticks, packets.last_ticks, packets.tick_s),
        has_audio=streams.has_audio,
        decoder=decoder,
        offset_s=packets.ticks[0] * packets.tick_s,
        ordered=packets.ordered,
        notes=tuple(_notes(streams, shown)),
    )


def _packets(path: Path) -> tuple[_Streams, FrameList | None]:
    """What ffmpeg reports on the streams, and the packets; None if their times cannot be listed without decoding."""
    base = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info", *DECODER_LIMITS, *LOCAL_FILES]
    opened = ["-format_whitelist", DEMUXERS, "-i", file_url(path)]
    done = run_quiet([*base, *opened, "-map", "0:V:0", "-c", "copy", "-copyinkf", "-f", "framecrc", "-"])
    report, _, mapping = done.stderr.partition("Stream mapping:")
    found = {index: (kind, text) for index, kind, text in _STREAM.findall(report)}
    videos = [text for kind, text in found.values() if kind == "Video" and _ATTACHED not in text]
    if found and not videos:
        # An index that ends too early leaves a stream of no kind.
        damaged = any(text.startswith("none") for _, text in found.values())
        raise JobError(f"{path.name}: has no video stream" + (" that is whole: it is cut short" if damaged else ""))
    errors = [line for line in done.stderr.splitlines() if re.search(r"\[(error|fatal)\] ", line)]
    of_input = [line for line in errors if not line.startswith(("[out#", "[vost#"))]
    if of_input and not path.stat().st_size:
        raise JobError(f"{path.name}: is empty, as after a copy that was cut short")
    if of_input and not found:
        raise JobError(f"{path.name}: cannot be read as one of {' '.join(VIDEO_SUFFIXES)}: {plain_words(of_input)}")
    if of_input:
        raise JobError(f"{path.name}: is damaged or cut short: {plain_words(of_input)}")
    mapped = _MAPPED.search(mapping)
    streams = _streams(path, report, found[mapped[1]][1] if mapped else "")
    packets = None if errors or done.returncode else listed_packets(done.stdout)
    return streams, packets


def _streams(path: Path, report: str, picture: str) -> _Streams:
    codec = _CODEC.match(picture)
    if codec is None or codec[1] == "none":
        raise JobError(f"{path.name}: its video stream is of a kind that this ffmpeg cannot decode")
    declared = _DECLARED.search(picture)
    width, height = (int(declared[1]), int(declared[2])) if declared else (1, 1)
    check_size(path.name, height, width, MAX_CLIP_PIXELS)
    if _DOLBY_VISION.search(report):
        raise JobError(f"{path.name}: is Dolby Vision of profile 5, whose colours cannot be read; {EXPORT_AS}")
    found = _STREAM.findall(report)
    described = report.partition(picture)[2].partition("  Stream #")[0]
    return _Streams(
        codec=codec[1],
        pixels=width * height,
        alpha=bool(re.search(r"alpha_mode *: 1\b", described, re.I)),
        videos=sum(kind == "Video" and _ATTACHED not in text for _, kind, text in found),
        has_audio=any(kind == "Audio" for _, kind, _ in found),
    )


def _may_change(path: Path, opened: list[str], streams: _Streams, packets: FrameList) -> bool:
    """Whether key frames, or any frames where that may be, differ in size, colours or rotation."""
    frames = len(packets.ticks)
    if streams.codec in RESIZING_CODECS and frames > HEAD_FRAMES and frames * streams.pixels <= WHOLE_LOOK_PIXELS:
        return True
    if packets.keys < 2 or (streams.codec in UNCHANGING_CODECS and packets.keys == frames):
        return False
    keys = decoded_frames(path, ["-skip_frame", "nokey", *opened], lenient=True)
    return len(keys.looks) > 1 or keys.changes > 0


def _parts(path: Path, frames: FrameList) -> Iterator[Part]:
    for first, look in frames.looks:
        check_size(path.name, look.height, look.square_width, MAX_CLIP_PIXELS)
        filters = f"{look.colour.filters(path.name, look.width, look.height)},{SQUARE_SIZE}"
        yield Part(first, look.square_width, look.height, filters, 4 if look.colour.alpha else 3)


def _notes(streams: _Streams, frames: FrameList) -> Iterator[str]:
    looks = [look for _, look in frames.looks]
    if len(looks) > 1:
        yield f"changes on the way: {_told_changes(frames)}; every frame is fitted by its own size and colours"
    yield from dict.fromkeys(note for look in looks if (note := look.colour.note()) is not None)
    if streams.codec != "gif" and any(look.colour.alpha for look in looks):
        yield "has an alpha channel, laid on white"
    if frames.interlaced:
        yield "is interlaced: each frame shows two moments; ffmpeg's bwdif filter makes it progressive"
    if streams.videos > 1:
        yield f"has {streams.videos} video streams, the first is read"


def _told_changes(frames: FrameList) -> str:
    """ "128x96, from frame 12 (0.750 s) on 64x48", with the colours where they differ too."""
    looks = [look for _, look in frames.looks]
    ways = (_size, lambda look: look.colour.words, lambda look: look.colour.pixels)
    telling = [way for way in ways if len({way(look) for look in looks}) > 1]
    told = []
    for first, look in frames.looks[:CHANGES_SHOWN]:
        what = ", ".join(way(look) for way in telling)
        seconds = float((frames.ticks[first] - frames.ticks[0]) * frames.tick_s)
        told.append(f"from frame {first} ({seconds:.3f} s) on {what}" if first else what)
    more = len(looks) - CHANGES_SHOWN
    return "; ".join(told) + (f"; and {more} more changes" if more > 0 else "")


def _size(look: Look) -> str:
    return f"{look.square_width}x{look.height}"


def _check_gif_trailer(path: Path) -> None:
    """Raises JobError for a GIF that was cut short: it decodes without an error, with torn frames."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 512))
        if not file.read().rstrip(b"\0").endswith(b";"):
            raise JobError(f"{path.name}: is damaged or cut short: the GIF trailer is missing")
