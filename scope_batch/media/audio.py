"""Probes sound tracks, and builds the ffmpeg arguments that add one to an output."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from pydantic import TypeAdapter

from scope_batch.core.sound import SoundFacts, SoundTrack
from scope_batch.errors import JobError, MissingInputError
from scope_batch.files.access import is_file
from scope_batch.files.remembered import remembered
from scope_batch.media.clip import DEMUXERS, probe_video
from scope_batch.media.ffmpeg import LOCAL_FILES, file_url, run_quiet

AUDIO_DEMUXERS = f"{DEMUXERS},wav,mp3,flac,aac,ogg"
HELD_S = Fraction(1)
"""Seconds at the end of a sound that are repeated with "hold"."""
MEASURED_WITHIN_S = Fraction(1, 20)
"""Compressed sound may end earlier than its packets by up to this; the repeated second ends before that."""
_KIND = "sounds-1"
"""The number increases whenever a sound may be described otherwise than before."""
_CONTINUOUS = "asetpts=N/SR/TB"
_LOOP_RATE = 48_000
"""Samples per second of sound that is repeated: the encoders' own rate."""


def probe_sound(path: Path, *, of_clip: bool = False) -> SoundFacts:
    """Return the length of a file's first sound track; `of_clip`: counted from the first video frame.

    Raises MissingInputError, or JobError (beginning with the file's name) if there is no readable sound.
    """
    if path.is_dir():
        raise JobError(f"{path.name}: is a folder, not a sound file")
    if not is_file(path):
        raise MissingInputError(f"{path}: no such file")
    end_s = remembered(_KIND, path, TypeAdapter(Fraction | None), lambda: _look(path))
    if end_s is None or end_s <= 0:
        raise JobError(f"{path.name}: has no sound that can be read")
    # ffmpeg counts from the earliest stream of the file, the job from the first video frame.
    start_s = probe_video(path).offset_s if of_clip else Fraction(0)
    return SoundFacts(path, start_s, end_s - start_s)


def _look(path: Path) -> Fraction | None:
    """Return the end of the first sound track in seconds from the start of the file, None if there is none."""
    args = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "error", *LOCAL_FILES]
    args += ["-format_whitelist", AUDIO_DEMUXERS, "-i", file_url(path), "-map", "0:a:0", "-c", "copy"]
    return _end_s(run_quiet([*args, "-f", "framecrc", "-"]).stdout)


def sound_args(track: SoundTrack) -> list[str]:
    """Return the ffmpeg input arguments, ending in `-i FILE`, for the part of the sound that is used."""
    seek = ["-ss", f"{float(track.start_s):.6f}"] if track.start_s > 0 else []
    whitelist = ["-format_whitelist", AUDIO_DEMUXERS]
    return [*LOCAL_FILES, *whitelist, *seek, "-t", f"{float(track.take_s):.6f}", "-i", file_url(track.path)]


def sound_filters(track: SoundTrack) -> str:
    """Return the ffmpeg filters that make the input of `sound_args` endless.

    The first samples can be missing (Matroska seeks to video frames): they become silence, which keeps sound and video
    in sync. Repeated sound is held in memory, 12 MB per minute of stereo.
    """
    if track.length == "stop":
        return "aresample=first_pts=0,apad"
    if track.length == "loop":
        return f"{_exactly(_samples(track.round_s))},{_repeated(_samples(track.round_s))}"
    held = _samples(min(HELD_S, track.take_s))
    once = max(held, _samples(track.take_s - MEASURED_WITHIN_S))
    end = f"atrim=start_sample={once - held},{_CONTINUOUS},{_repeated(held)}"
    return f"{_exactly(once)},asplit[once][all];[all]{end}[held];[once][held]concat=n=2:v=0:a=1,{_CONTINUOUS}"


def _exactly(samples: int) -> str:
    return f"aresample={_LOOP_RATE}:first_pts=0,aformat=sample_fmts=s16,apad,atrim=end_sample={samples}"


def _repeated(samples: int) -> str:
    """Repeat from the first sample: aloop is exact only with start=0."""
    return f"aloop=loop=-1:size={samples}:start=0,{_CONTINUOUS}"


def _samples(seconds: Fraction) -> int:
    return max(1, round(seconds * _LOOP_RATE))


def _end_s(listing: str) -> Fraction | None:
    """Return the end of the last packet of a framecrc listing in seconds, None if it has none."""
    tick_s, ends = Fraction(1), []
    for line in listing.splitlines():
        if line.startswith("#tb 0: "):
            tick_s = Fraction(line.removeprefix("#tb 0: "))
        elif not line.startswith("#"):
            _, _, pts, duration, *_ = line.split(",")
            ends.append(int(pts) + int(duration))
    return max(ends) * tick_s if ends else None
