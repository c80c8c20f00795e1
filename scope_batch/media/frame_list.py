"""Lists the frames of a clip with time, size and colours, from its packets or by decoding."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from scope_batch.errors import JobError
from scope_batch.media.colour import Colour
from scope_batch.media.ffmpeg import last_lines, refuse_little_memory, stderr_lines

_SHOWINFO = r"^\[Parsed_showinfo_\d+ @ \w+\] \[info\] "
_TIME_BASE = re.compile(_SHOWINFO + r"config in time_base: (\d+)/(\d+)")
_FRAME = re.compile(
    _SHOWINFO + r"n: *\d+ pts: *(?P<pts>\S+) .*?duration: *(?P<duration>-?\d+) .*?fmt:(?P<pixels>\w+) .*?"
    r"sar:(?P<aspect>\d+/\d+) s:(?P<width>\d+)x(?P<height>\d+) i:(?P<fields>\w)"
)
_COLOUR = re.compile(
    _SHOWINFO + r"color_range:(?P<range>\S+) color_space:(?P<matrix>\S+) color_primaries:(?P<primaries>\S+) "
    r"color_trc:(?P<transfer>\S+)\s*$"
)
_TOTAL = re.compile(r"^\[info\] frame= *(\d+) ")
_ATTEMPTS = 6
"""Decoding is repeated if a line is garbled: ffmpeg writes lines in pieces, and another thread may write in between."""
_TIMES_GO_BACK = "non monotonically increasing dts"
"""An error about ffmpeg's output, not about the input; frames are complete."""
_PACKET_DISCARD = 4
_PACKET_KEY = 1
_NO_TIME = -(1 << 63)


@dataclass(frozen=True, slots=True)
class Look:
    """Size and colours of a frame. width, height: pixels, after rotation. aspect: width / height of one pixel."""

    width: int
    height: int
    aspect: Fraction
    colour: Colour

    @property
    def square_width(self) -> int:
        """Width with square pixels, computed as by the scale filter of `SQUARE_SIZE`, in doubles."""
        return max(1, int(self.width * (self.aspect.numerator / self.aspect.denominator) + 0.5))


SQUARE_SIZE = "scale=w='max(1,trunc(iw*sar+0.5))':h=ih"


@dataclass(slots=True)
class FrameList:
    """ticks: ascending times. last_ticks: duration of the last frame, 0 if unknown. keys: number of key packets.
    looks: (first frame, look) of each run of frames with the same look; empty for packets. changes: number of parameter
    changes that the decoder reported, rotation included. ordered: times strictly ascend in decoding order, so that a
    time identifies a frame.
    """

    tick_s: Fraction
    ticks: list[int] = field(default_factory=list)
    last_ticks: int = 0
    keys: int = 0
    looks: list[tuple[int, Look]] = field(default_factory=list)
    interlaced: bool = False
    changes: int = 0
    ordered: bool = True

    def times(self, count: int) -> list[Fraction]:
        return [tick * self.tick_s for tick in self.ticks[:count]]


def listed_packets(text: str) -> FrameList | None:
    """Parse a framecrc listing of packets; None if some have no time."""
    header: dict[str, str] = {}
    packets: list[tuple[int, int]] = []
    keys = 0
    for line in text.splitlines():
        if line.startswith("#"):
            key, _, value = line[1:].partition(" 0: ")
            header[key] = value
            continue
        _, _, pts, duration, _, _, *extra = (field.strip() for field in line.split(","))
        flags = next((int(field[2:], 16) for field in extra if field.startswith("F=")), _PACKET_KEY)
        if not flags & _PACKET_DISCARD:
            packets.append((int(pts), int(duration)))
            keys += flags & _PACKET_KEY
    packets.sort()
    if not packets or packets[0][0] == _NO_TIME:
        return None
    ticks = [pts for pts, _ in packets]
    return FrameList(Fraction(header["tb"]), ticks, packets[-1][1], keys, ordered=len(set(ticks)) == len(ticks))


def decoded_frames(path: Path, input_args: list[str], *, count: int | None = None, lenient: bool = False) -> FrameList:
    """Decode the frames of the first video stream, or the first `count`, and list them.

    input_args  arguments that open the file, with options of the decoder, ending in `-i FILE`.
    lenient     skip frames that cannot be decoded; only for a sample of the frames.
    Raises JobError, beginning with the file's name.
    """
    described = total = 0
    for _ in range(_ATTEMPTS):
        frames, total, errors = _decode(path, input_args, count)
        if errors and not lenient:
            refuse_little_memory(path.name, joined_messages(errors))
            damaged = (
                "is damaged or cut short" if any(line.startswith("[in#") for line in errors) else "cannot be decoded"
            )
            raise JobError(f"{path.name}: {damaged}: {joined_messages(errors)}")
        if frames is None or not total:
            raise JobError(f"{path.name}: holds no frames")
        # A run limited to `count` frames decodes some more.
        described = len(frames.ticks)
        if described == total or (count is not None and described > total):
            frames.ordered = all(before < after for before, after in pairwise(frames.ticks))
            frames.ticks.sort()
            return frames
    raise JobError(f"{path.name}: ffmpeg decodes {total} frames but lists {described}")


def _decode(path: Path, input_args: list[str], count: int | None) -> tuple[FrameList | None, int, list[str]]:
    """Return the listed frames, the number of decoded ones, and error lines."""
    limit = [] if count is None else ["-frames:v", str(count)]
    loud = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info"]
    output = ["-map", "0:V:0", "-vf", "showinfo=checksum=0", *limit, "-fps_mode", "passthrough", "-f", "null", "-"]
    frames: FrameList | None = None
    total = 0
    errors: list[str] = []
    frame: re.Match[str] | None = None
    for line in stderr_lines([*loud, *input_args, *output]):
        if is_input_error(line):
            errors.append(line)
        elif frames is None:
            base = _TIME_BASE.match(line)
            frames = FrameList(Fraction(int(base[1]), int(base[2]))) if base else None
        elif is_change(line):
            frames.changes += 1
        elif listed := _FRAME.match(line):
            frame = listed
        elif frame is not None and (colour := _COLOUR.match(line)):
            _add(path, frames, frame, colour)
            frame = None
        elif count_line := _TOTAL.match(line):
            total = int(count_line[1])
    return frames, total, errors


def is_input_error(line: str) -> bool:
    """Return whether a line of ffmpeg, under `-loglevel level+info`, reports an error in its input."""
    return any(level in line for level in ("[error]", "[fatal]", "[panic]")) and _TIMES_GO_BACK not in line


def is_change(line: str) -> bool:
    """Return whether the line reports a change of size, colours or rotation."""
    return "Reconfiguring filter graph" in line


def joined_messages(lines: list[str]) -> str:
    """Return the last of ffmpeg's lines joined by "; ", without their prefixes."""
    return last_lines("\n".join(lines))


def _add(path: Path, frames: FrameList, frame: re.Match[str], colour: re.Match[str]) -> None:
    if frame["pts"] == "NOPTS":
        raise JobError(f"{path.name}: its frames have no times; remux it first: ffmpeg -i {path.name} out.mkv")
    aspect = frame["aspect"]
    look = Look(
        int(frame["width"]),
        int(frame["height"]),
        Fraction(aspect) if not aspect.endswith("/0") and not aspect.startswith("0/") else Fraction(1),
        Colour(frame["pixels"], colour["range"], colour["matrix"], colour["primaries"], colour["transfer"]),
    )
    if not frames.looks or frames.looks[-1][1] != look:
        frames.looks.append((len(frames.ticks), look))
    frames.ticks.append(int(frame["pts"]))
    frames.last_ticks = max(0, int(frame["duration"]))
    frames.interlaced |= frame["fields"] != "P"
