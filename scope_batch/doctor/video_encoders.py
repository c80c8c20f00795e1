"""Checks ffmpeg and its encoders."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from scope_batch.doctor.finding import Finding, State
from scope_batch.errors import ScopeBatchError, UnavailableError
from scope_batch.media.ffmpeg import ffmpeg_exe, run_quiet
from scope_batch.sinks.command import VideoFormat
from scope_batch.sinks.encode import try_encoder
from scope_batch.sinks.encoders import DEFAULT_CODEC, ENCODERS, resolve_options

_ADVICE = "pip install --force-reinstall imageio-ffmpeg, or name another ffmpeg in IMAGEIO_FFMPEG_EXE"


def check() -> Iterator[Finding]:
    try:
        executable = ffmpeg_exe()
        output = run_quiet(["-version"]).stdout
    except UnavailableError as error:
        yield Finding("ffmpeg", "fault", str(error), _ADVICE)
        return
    version = output.partition("\n")[0].partition(" Copyright")[0]
    if not version.startswith("ffmpeg version"):
        yield Finding("ffmpeg", "fault", f"{executable}: does not print an ffmpeg version", _ADVICE)
        return
    yield Finding("ffmpeg", "ok", f"{version} ({executable})", values={"version": version, "path": str(executable)})
    yield from _encoders()


def _encoders() -> Iterator[Finding]:
    failures = {codec: _failure(codec) for codec in ENCODERS}
    works = [codec for codec, failure in failures.items() if not failure]
    if works:
        yield Finding("encoders", "ok", f"{', '.join(works)} work", values={"works": works})
    for codec, failure in failures.items():
        if failure:
            containers = [container for container, default in DEFAULT_CODEC.items() if default == codec]
            state: State = "fault" if containers else "warn"
            advice = f"{_ADVICE}; or choose another codec" + (f" for {', '.join(containers)}" if containers else "")
            yield Finding("encoders", state, f"{codec} does not work: {failure}", advice, {"fails": codec})


def _failure(codec: str) -> str:
    """Return why two frames cannot be encoded; "" if they can."""
    container = ENCODERS[codec].containers[0]
    options = resolve_options(container, {"codec": codec}, "doctor")
    try:
        try_encoder(VideoFormat(container, options, 64, 64, Fraction(16)))
    except ScopeBatchError as error:
        return str(error)
    return ""
