"""The ffmpeg command line of a video output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from scope_batch.core.sound import SoundTrack
from scope_batch.media.audio import sound_args, sound_filters
from scope_batch.media.ffmpeg import LOCAL_FILES, QUIET, file_url
from scope_batch.sinks.encoders import ENCODERS, MUXERS, VideoOptions

ENCODER_THREADS = 4
"""Pinned: x264's bytes depend on the number of threads. Four encode 832x480 far faster than any model renders it."""
SOUND_OVERHANG_S = 0.005
_AUDIO_CODEC = {"mp4": "aac", "mov": "aac", "mkv": "aac", "webm": "libopus", "nut": "pcm_s16le"}
_LAYOUTS = {
    "aac": "mono|stereo|2.1|3.0|3.0(back)|4.0|quad|quad(side)|3.1|5.0|5.0(side)|4.1|5.1|5.1(side)|6.0|6.0(front)|"
    "hexagonal|6.1|6.1(back)|6.1(front)|7.0|7.0(front)|7.1|7.1(wide)|octagonal",
    "libopus": "mono|stereo|3.0|quad|5.0|5.1|6.1|7.1",
}
"""Loudspeakers that an encoder knows; sound for others is mixed to the ones most like them."""
_SHORT_PACKETS = ",asetnsamples=n=256:p=0"
"""Uncompressed sound keeps the packets it comes in, of which -shortest drops the last one if it is not whole."""

# Flags alone leave primaries and transfer unset, and without the matrix the picture is encoded as BT.601.
_BT709 = (
    "scale=out_color_matrix=bt709:out_range=tv,"
    "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
)


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound track and how long it lasts."""

    track: SoundTrack
    seconds: Fraction


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """What is written: container, encoder settings, picture size in pixels, exact frame rate. `sound` None = silent."""

    container: str
    options: VideoOptions
    width: int
    height: int
    fps: Fraction
    sound: Sound | None = None


def encode_args(video: VideoFormat, target: Path | None, metadata_fd: int | None) -> list[str]:
    """Arguments for an ffmpeg that reads frames uint8 RGB on stdin. `target` None: it writes its stdout.

    metadata_fd  an inherited descriptor of an ffmetadata file, see `metadata.ffmetadata`.
    """
    rate = f"{video.fps.numerator}/{video.fps.denominator}"
    args = [*QUIET, "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{video.width}x{video.height}"]
    args += ["-framerate", rate, *LOCAL_FILES, "-i", "pipe:0"]
    inputs = 1
    maps = ["-map", "0:v:0", "-map_chapters", "-1", "-map_metadata", "-1"]
    if metadata_fd is not None:
        args += ["-f", "ffmetadata", *LOCAL_FILES, "-i", f"pipe:{metadata_fd}"]
        maps[-1] = str(inputs)
        inputs += 1
    if video.sound is not None:
        args += sound_args(video.sound.track)
        # -shortest is for a picture that is stopped early; alone it lets the sound run on for half a second. It drops
        # the last picture if the sound ends a sample before it, so the sound ends a moment later.
        codec = _AUDIO_CODEC[video.container]
        filters = f"{sound_filters(video.sound.track)},atrim=end={float(video.sound.seconds) + SOUND_OVERHANG_S:.6f}"
        filters += f",aformat=channel_layouts={_LAYOUTS[codec]}" if codec in _LAYOUTS else _SHORT_PACKETS
        maps += ["-map", f"{inputs}:a:0", "-c:a", codec, "-af", filters, "-shortest"]
    args += [*maps, *_encoder_args(video.options), "-fps_mode", "passthrough", "-bitexact"]
    return [*args, *_muxer_args(video.container, stream=target is None), _url(target)]


def _encoder_args(options: VideoOptions) -> list[str]:
    args = ["-c:v", options.codec, *ENCODERS[options.codec].args, "-threads", str(ENCODER_THREADS)]
    if options.preset is not None:
        args += ["-preset", options.preset]
    if options.crf is not None:
        args += ["-crf", f"{options.crf:g}"]
    if options.pix_fmt.startswith("yuv"):
        args += ["-vf", _BT709]
    return [*args, "-pix_fmt", options.pix_fmt]


def _muxer_args(container: str, *, stream: bool) -> Sequence[str]:
    if container not in ("mp4", "mov"):
        return ["-f", MUXERS[container]]
    # A stream cannot be gone back in: fragments. QuickTime's own text atoms end at 64 kB, its metadata keys do not.
    flags = "frag_keyframe+empty_moov+default_base_moof" if stream else "faststart"
    flags += "+use_metadata_tags" if container == "mov" else ""
    return ["-f", MUXERS[container], "-movflags", f"+{flags}"]


def _url(target: Path | None) -> str:
    return "pipe:1" if target is None else file_url(target)
