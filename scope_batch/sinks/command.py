"""Builds the ffmpeg command line of a video output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from scope_batch.core.output_formats import OUTPUT_FORMATS
from scope_batch.core.sound import SoundTrack
from scope_batch.media.audio import sound_args, sound_filters
from scope_batch.media.ffmpeg import LOCAL_FILES, QUIET, file_url
from scope_batch.sinks.encoders import ENCODERS, VideoOptions

ENCODER_THREADS = 4
"""Fixed, since x264's output depends on the thread count. Four encode 832x480 far faster than any model renders."""
SOUND_OVERHANG_S = 0.005
_LAYOUTS = {
    "aac": "mono|stereo|2.1|3.0|3.0(back)|4.0|quad|quad(side)|3.1|5.0|5.0(side)|4.1|5.1|5.1(side)|6.0|6.0(front)|"
    "hexagonal|6.1|6.1(back)|6.1(front)|7.0|7.0(front)|7.1|7.1(wide)|octagonal",
    "libopus": "mono|stereo|3.0|quad|5.0|5.1|6.1|7.1",
}
"""Channel layouts that an encoder supports; other layouts are mixed to the nearest of these."""
_SHORT_PACKETS = ",asetnsamples=n=256:p=0"
"""Short packets for PCM, whose last packet -shortest drops if it is incomplete."""

# Flags alone leave primaries and transfer unset, and without the matrix the picture is encoded as BT.601.
_BT709 = (
    "scale=out_color_matrix=bt709:out_range=tv,"
    "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
)


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound track and its duration in seconds."""

    track: SoundTrack
    seconds: Fraction


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """Container, encoder settings, frame size in pixels, exact frame rate and sound (None = silent) of a video."""

    container: str
    options: VideoOptions
    width: int
    height: int
    fps: Fraction
    sound: Sound | None = None


def encode_args(video: VideoFormat, target: Path | None, metadata_fd: int | None) -> list[str]:
    """Return the arguments of an ffmpeg that reads uint8 RGB frames from stdin. `target` None: it writes to stdout.

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
        # -shortest ends the sound of a render that is stopped early, up to half a second late. It also drops the last
        # frame if the sound is a sample shorter than the video, so the sound is made SOUND_OVERHANG_S longer.
        codec = OUTPUT_FORMATS[video.container].audio_codec
        assert codec is not None, "ffmpeg writes no container without sound"
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
    muxer = OUTPUT_FORMATS[container].muxer
    assert muxer is not None, f"{container} is not written by ffmpeg"
    if container not in ("mp4", "mov"):
        return ["-f", muxer]
    # A stream cannot seek back, hence fragments. QuickTime limits text atoms to 64 kB, but not its metadata keys.
    flags = "frag_keyframe+empty_moov+default_base_moof" if stream else "faststart"
    flags += "+use_metadata_tags" if container == "mov" else ""
    return ["-f", muxer, "-movflags", f"+{flags}"]


def _url(target: Path | None) -> str:
    return "pipe:1" if target is None else file_url(target)
