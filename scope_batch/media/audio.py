"""Which sound goes into the output, as arguments for the encoder's ffmpeg."""

from __future__ import annotations

from pathlib import Path

from scope_batch.errors import JobError, MissingInputError
from scope_batch.media.clip import DEMUXERS, VIDEO_SUFFIXES, has_sound, probe_video
from scope_batch.media.ffmpeg import LOCAL_FILES, file_url

AUDIO_DEMUXERS = f"{DEMUXERS},wav,mp3,flac,aac,ogg"


def audio_args(audio: str, input_path: Path | None, start_s: float | None, duration_s: float) -> list[str] | None:
    """Input arguments (ending in `-i FILE`) for the sound of `duration_s` seconds of output; None = no sound.

    audio: "none", "input" (the clip's own sound, from `start_s` seconds after its first frame) or the path of a file
    with sound (from its beginning). Times count from there. The very first samples can be missing (Matroska is entered
    at pictures), so an encoder keeps the sound in step with `aresample=first_pts=0`.
    Raises MissingInputError or JobError if there is no such sound.
    """
    if audio == "none":
        return None
    if audio == "input":
        return _of_clip(input_path, start_s or 0.0, duration_s)
    path = Path(audio)
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file (`audio`)")
    if not has_sound(path, AUDIO_DEMUXERS):
        raise JobError(f"{path.name}: has no sound that can be read (`audio`)")
    return _args(path, 0.0, duration_s)


def _of_clip(path: Path | None, start_s: float, duration_s: float) -> list[str]:
    if path is None:
        raise JobError("`audio: input` needs an `input_path`")
    if path.suffix.lower() not in VIDEO_SUFFIXES or not path.is_file() or not has_sound(path):
        raise JobError(f"{path.name}: has no sound for `audio: input`; `none` or a file is allowed")
    # ffmpeg counts from the earliest stream of the file, the job from the first frame.
    return _args(path, float(probe_video(path).offset_s) + start_s, duration_s)


def _args(path: Path, start_s: float, duration_s: float) -> list[str]:
    seek = ["-ss", f"{start_s:.6f}"] if start_s > 0 else []
    whitelist = ["-format_whitelist", AUDIO_DEMUXERS]
    return [*LOCAL_FILES, *whitelist, *seek, "-t", f"{duration_s:.6f}", "-i", file_url(path)]
