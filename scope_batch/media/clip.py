"""Probes a video file: its streams, the time of every frame, and the frames at which size or colours change.

imageio-ffmpeg ships no ffprobe. Packets are counted without decoding. Decoding the first frames gives the size after
rotation, and shows whether every packet becomes a frame; decoding the key frames shows whether size or colours change.
If packets and frames differ (edit lists, undecodable leading frames, invisible frames), or size or colours change, the
whole clip is decoded once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from pydantic import TypeAdapter

from scope_batch.core.timing import Timing
from scope_batch.errors import JobError
from scope_batch.files.remembered import remembered
from scope_batch.media.colour import EXPORT_AS
from scope_batch.media.ffmpeg import DECODER_LIMITS, LOCAL_FILES, file_url, run_quiet
from scope_batch.media.frame_list import SQUARE_SIZE, FrameList, Look, decoded_frames, joined_messages, listed_packets
from scope_batch.media.source import check_size

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".gif", ".nut"
)  # fmt: skip
DEMUXERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,gif,nut"
"""Formats that refer to other files, such as playlists, are excluded, whatever the file's suffix."""

HEAD_FRAMES, MIN_HEAD_FRAMES = 32, 4
HEAD_PIXELS = 1 << 27
"""Limits the number of first frames that are decoded: 16 of 4K."""
MAX_CLIP_PIXELS = 8192 * 4352
"""Pixels of a frame: 8K."""
HIDDEN_FRAME_CODECS = frozenset({"vp8"})
"""Codecs whose packets may hold a frame that is never shown."""
UNCHANGING_CODECS = frozenset(
    ("rawvideo", "ffv1", "huffyuv", "ffvhuff", "utvideo", "v210", "prores", "dnxhd", "cfhd", "qtrle", "gif")
)
"""Intra-only codecs whose size and colours are fixed for the whole clip, so that one frame shows them."""
RESIZING_CODECS = frozenset(("vp9", "av1"))
"""Codecs that can change size between key frames, as live encoders do on a slow connection."""
WHOLE_LOOK_PIXELS = 1 << 32
"""Largest number of pixels in all frames for which such a clip is decoded completely: 2,000 frames of 1080p."""
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that read the alpha channel, which ffmpeg's own decoders of these codecs ignore."""
PROBES_KEPT = 64
_KIND = "clips-1"
"""The number increases whenever a clip may be described otherwise than before."""
CHANGES_SHOWN = 6

_STREAM = re.compile(r"^\[info\]   Stream #0:(\d+)\S*: (\w+): (.*)$", re.M)
_CODEC = re.compile(r"(\w+)")
_DECLARED = re.compile(r", (\d+)x(\d+)")
_MAPPED = re.compile(r"^\[info\]   Stream #0:(\d+) -> #0:0", re.M)
_ATTACHED = "(attached pic)"
_DOLBY_VISION = re.compile(r"DOVI configuration record: .*?profile: 5\b")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a clip, from frame `first` on, whose frames have one size and one colour format.

    width, height: with square pixels. filters: for ffmpeg, to raw RGB frames of that size. channels: 4 with alpha.
    """

    first: int
    width: int
    height: int
    filters: str
    channels: int


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """parts: at least one. changes: number of parameter changes that the decoder reports. decoder: "" = ffmpeg's
    choice. offset_s: first frame's time from the start of the file. ordered: display times strictly ascend. notes:
    properties of the clip, without its name.
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
    """The streams that ffmpeg reports before decoding: codec and pixels per frame of the first video stream, number of
    video streams, and whether there is sound."""

    codec: str
    pixels: int
    alpha: bool
    videos: int
    has_audio: bool


def input_args(path: Path, decoder: str = "") -> list[str]:
    """Return the ffmpeg arguments that open `path`, in the containers of `DEMUXERS` only."""
    limits = ["-max_pixels", str(MAX_CLIP_PIXELS), *(["-c:v", decoder] if decoder else [])]
    return [*DECODER_LIMITS, *LOCAL_FILES, "-format_whitelist", DEMUXERS, *limits, "-i", file_url(path)]


def probe_video(path: Path) -> VideoFacts:
    """Probe the file's first video stream that is not an attached picture; remembered until the file changes.

    Raises JobError if there is none, if it is truncated or damaged, or its first frames cannot be decoded.
    """
    status = path.stat()
    return _probe(path.absolute(), status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(PROBES_KEPT)
def _probe(path: Path, *_: int) -> VideoFacts:
    facts = remembered(_KIND, path, TypeAdapter(VideoFacts), lambda: _look(path))
    return replace(facts, timing=replace(facts.timing, ticks=tuple(facts.timing.ticks)))  # JSON knows lists only


def _look(path: Path) -> VideoFacts:
    streams, packets = _packets(path)
    if path.suffix.lower() == ".gif":
        _check_gif_trailer(path)
    decoder = ALPHA_DECODERS.get(streams.codec, "") if streams.alpha else ""
    opened = input_args(path, decoder)
    count = max(MIN_HEAD_FRAMES, min(HEAD_FRAMES, HEAD_PIXELS // max(1, streams.pixels)))
    head = decoded_frames(path, opened, count=count)
    same_times = packets is not None and packets.times(count) == head.times(count)
    decoded = head
    counted = same_times and packets is not None and packets.ordered and streams.codec not in HIDDEN_FRAME_CODECS
    if packets is None or not counted or head.changes or _may_change(path, opened, streams, packets):
        packets = decoded = decoded_frames(path, opened)
    return VideoFacts(
        parts=tuple(_parts(path, decoded)),
        changes=decoded.changes,
        timing=Timing.of_ticks(packets.ticks, packets.last_ticks, packets.tick_s),
        has_audio=streams.has_audio,
        decoder=decoder,
        offset_s=packets.ticks[0] * packets.tick_s,
        ordered=packets.ordered,
        notes=tuple(_notes(streams, decoded)),
    )


def _packets(path: Path) -> tuple[_Streams, FrameList | None]:
    """Return the streams and the packets; packets are None if their times cannot be listed without decoding."""
    base = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info", *DECODER_LIMITS, *LOCAL_FILES]
    opened = ["-format_whitelist", DEMUXERS, "-i", file_url(path)]
    done = run_quiet([*base, *opened, "-map", "0:V:0", "-c", "copy", "-copyinkf", "-f", "framecrc", "-"])
    report, _, mapping = done.stderr.partition("Stream mapping:")
    listed = {index: (kind, text) for index, kind, text in _STREAM.findall(report)}
    videos = [text for kind, text in listed.values() if kind == "Video" and _ATTACHED not in text]
    if listed and not videos:
        # A truncated index leaves a stream without a type.
        damaged = any(text.startswith("none") for _, text in listed.values())
        raise JobError(f"{path.name}: has no video stream" + (" that is complete: it is cut short" if damaged else ""))
    errors = [line for line in done.stderr.splitlines() if re.search(r"\[(error|fatal)\] ", line)]
    of_input = [line for line in errors if not line.startswith(("[out#", "[vost#"))]
    if of_input and not path.stat().st_size:
        raise JobError(f"{path.name}: is empty, as after a copy that was cut short")
    if of_input and not listed:
        raise JobError(f"{path.name}: cannot be read as one of {' '.join(VIDEO_SUFFIXES)}: {joined_messages(of_input)}")
    if of_input:
        raise JobError(f"{path.name}: is damaged or cut short: {joined_messages(of_input)}")
    mapped = _MAPPED.search(mapping)
    streams = _streams(path, report, listed[mapped[1]][1] if mapped else "")
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
    listed = _STREAM.findall(report)
    described = report.partition(picture)[2].partition("  Stream #")[0]
    return _Streams(
        codec=codec[1],
        pixels=width * height,
        alpha=bool(re.search(r"alpha_mode *: 1\b", described, re.I)),
        videos=sum(kind == "Video" and _ATTACHED not in text for _, kind, text in listed),
        has_audio=any(kind == "Audio" for _, kind, _ in listed),
    )


def _may_change(path: Path, opened: list[str], streams: _Streams, packets: FrameList) -> bool:
    """Return whether size, colours or rotation may change, judged by the key frames or the codec."""
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
        yield f"changes on the way: {_described_changes(frames)}; every frame is fitted by its own size and colours"
    yield from dict.fromkeys(note for look in looks if (note := look.colour.note()) is not None)
    if streams.codec != "gif" and any(look.colour.alpha for look in looks):
        yield "has an alpha channel, laid on white"
    if frames.interlaced:
        yield "is interlaced: each frame shows two moments; deinterlace it with ffmpeg's bwdif filter"
    if streams.videos > 1:
        yield f"has {streams.videos} video streams, the first is read"


def _described_changes(frames: FrameList) -> str:
    """Return "128x96; from frame 12 (0.750 s) on 64x48", with the colours if they differ."""
    looks = [look for _, look in frames.looks]
    properties = (_size, lambda look: look.colour.words, lambda look: look.colour.pixels)
    varying = [text_of for text_of in properties if len({text_of(look) for look in looks}) > 1]
    changes = []
    for first, look in frames.looks[:CHANGES_SHOWN]:
        text = ", ".join(text_of(look) for text_of in varying)
        seconds = float((frames.ticks[first] - frames.ticks[0]) * frames.tick_s)
        changes.append(f"from frame {first} ({seconds:.3f} s) on {text}" if first else text)
    more = len(looks) - CHANGES_SHOWN
    return "; ".join(changes) + (f"; and {more} more changes" if more > 0 else "")


def _size(look: Look) -> str:
    return f"{look.square_width}x{look.height}"


def _check_gif_trailer(path: Path) -> None:
    """Raises JobError for a truncated GIF, which decodes without an error but with damaged frames."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 512))
        if not file.read().rstrip(b"\0").endswith(b";"):
            raise JobError(f"{path.name}: is damaged or cut short: the GIF trailer is missing")
