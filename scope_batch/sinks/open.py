"""From outputs to open sinks with a thread that feeds them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from scope_batch.chunk import Delivery, Plan
from scope_batch.errors import JobError, OutputExistsError
from scope_batch.sinks.atomic import partial_path, refuse_existing, refuse_folder, sidecar_path
from scope_batch.sinks.command import Sound, VideoFormat
from scope_batch.sinks.encode import try_encoder
from scope_batch.sinks.latents import LatentsSink
from scope_batch.sinks.metadata import SIDECAR_FORMATS
from scope_batch.sinks.npy import NpySink
from scope_batch.sinks.output import Output, numbered_files, refuse_same_path
from scope_batch.sinks.png import PngSink, PreviewSink
from scope_batch.sinks.sink import Sink
from scope_batch.sinks.stdout import STDOUT_FD, NpyStdout, VideoStdout, refuse_terminal
from scope_batch.sinks.video import VideoSink
from scope_batch.sinks.writer import BackgroundWriter


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """What is said about all outputs together.

    overwrite  replace what exists.
    metadata   `metadata_text(job)`, or None: nothing is written about the job.
    audio      ffmpeg's input arguments for the sound track of every video output, see `Sound`.
    preview    a PNG that shows the last frame of each chunk; latents: a safetensors file with every chunk's latents.
    inputs     every local file or folder that the job is made from; none of them is ever written.
    """

    overwrite: bool = False
    metadata: str | None = None
    audio: tuple[str, ...] = ()
    preview: Path | None = None
    latents: Path | None = None
    inputs: tuple[Path, ...] = ()
    stdout_fd: int = STDOUT_FD


def check_outputs(outputs: Sequence[Output], plan: Plan, settings: SinkSettings) -> None:
    """All that can be said before a model is loaded; nothing is written.

    Raises JobError (a path twice, an input, a wrong extension, an encoder that refuses its options), OutputExistsError,
    OutputError (a folder that cannot be made or written), UsageError (standard output is a terminal).
    """
    _check_extras(outputs, settings)
    for output in outputs:
        if output.path is None:
            refuse_terminal(settings.stdout_fd)
        else:
            _refuse_existing(output, overwrite=settings.overwrite)
    for path in (*(output.path for output in outputs), settings.latents, settings.preview):
        if path is not None:
            refuse_folder(path)
    for output in outputs:
        if output.options is not None:
            try_encoder(_video_format(output, plan.delivery, ()))


@contextmanager
def open_sinks(outputs: Sequence[Output], plan: Plan, settings: SinkSettings) -> Iterator[BackgroundWriter]:
    """Open everything that is to be written; yields the writer to submit chunks to.

    Leaving it without an exception verifies and renames every output. With one, the outputs that are not to blame keep
    a partial, and after `Interrupted(now=True)` none does.
    """
    _check_extras(outputs, settings)
    for output in outputs:
        if output.path is not None:
            _refuse_existing(output, overwrite=settings.overwrite)
    made = plan.delivery
    sinks = [_sink(output, made, settings) for output in outputs]
    if settings.preview is not None:
        sinks.append(PreviewSink(settings.preview))
    latents = None
    if settings.latents is not None:
        latents = LatentsSink(settings.latents, plan, overwrite=settings.overwrite)
    post = plan.post_processors.open(plan.height, plan.width) if plan.post_processors else None
    with ExitStack() as stack:
        for sink in (*sinks, *([] if latents is None else [latents])):
            stack.enter_context(sink)
        yield stack.enter_context(BackgroundWriter(sinks, latents, post))


def _check_extras(outputs: Sequence[Output], settings: SinkSettings) -> None:
    extras = [path for path in (settings.preview, settings.latents) if path is not None]
    refuse_same_path([*(output.path for output in outputs if output.path is not None), *extras])
    _refuse_inputs(outputs, settings)
    if settings.preview is not None and settings.preview.suffix.lower() != ".png":
        raise JobError(f"--preview {settings.preview}: unknown extension; allowed: .png")
    if settings.latents is not None:
        if settings.latents.suffix != ".safetensors":
            raise JobError(f"--latents {settings.latents}: unknown extension; allowed: .safetensors")
        refuse_existing(settings.latents, overwrite=settings.overwrite)


def _refuse_inputs(outputs: Sequence[Output], settings: SinkSettings) -> None:
    """Raises JobError, also with `overwrite`, if an input would be replaced or removed, or get pictures added to it."""
    inputs = {os.path.realpath(path): path for path in settings.inputs}
    named = [("output", path) for output in outputs for path in _files_touched(output)]
    named += [("--preview", settings.preview)] if settings.preview else []
    named += [("--latents", path) for path in _with_partial(settings.latents)]
    for where, path in named:
        folder = os.path.realpath(path.parent) if path.suffix.lower() == ".png" else ""
        source = inputs.get(os.path.realpath(path)) or inputs.get(folder)
        if source is not None:
            raise JobError(f"{where} {path}: would write over the input {source}; name another place")


def _files_touched(output: Output) -> tuple[Path, ...]:
    if output.path is None:
        return ()
    if output.format == "png":
        return (output.path, *numbered_files(output.path))
    files = _with_partial(output.path)
    return (*files, *map(sidecar_path, files)) if output.format in SIDECAR_FORMATS else files


def _with_partial(path: Path | None) -> tuple[Path, ...]:
    """A file and its partial, which goes when the file is whole."""
    return () if path is None else (path, partial_path(path))


def _refuse_existing(output: Output, *, overwrite: bool) -> None:
    assert output.path is not None
    if output.format != "png":
        refuse_existing(output.path, overwrite=overwrite)
        if output.format in SIDECAR_FORMATS:
            refuse_existing(sidecar_path(output.path), overwrite=overwrite)
    elif not overwrite and (existing := numbered_files(output.path)):
        raise OutputExistsError(f"{output.path}: {len(existing)} pictures exist; replace them with --overwrite")


def _sink(output: Output, made: Delivery, settings: SinkSettings) -> Sink:
    if output.path is None:
        return _stdout_sink(output, made, settings)
    sidecar = (settings.metadata or "") if output.format in SIDECAR_FORMATS else None
    if output.format == "png":
        return PngSink(output.path, made.frames, metadata=settings.metadata)
    if output.format == "npy":
        size = (made.frames, made.height, made.width)
        return NpySink(output.path, *size, overwrite=settings.overwrite, sidecar=sidecar)
    return VideoSink(
        output.path,
        made.frames,
        _video_format(output, made, settings.audio),
        overwrite=settings.overwrite,
        metadata=None if output.format in SIDECAR_FORMATS else settings.metadata,
        sidecar=sidecar,
    )


def _stdout_sink(output: Output, made: Delivery, settings: SinkSettings) -> Sink:
    refuse_terminal(settings.stdout_fd)
    if output.format == "npy":
        return NpyStdout(made.frames, made.height, made.width, fd=settings.stdout_fd)
    metadata = None if output.format in SIDECAR_FORMATS else settings.metadata
    return VideoStdout(_video_format(output, made, settings.audio), metadata=metadata, fd=settings.stdout_fd)


def _video_format(output: Output, made: Delivery, audio: tuple[str, ...]) -> VideoFormat:
    assert output.options is not None
    sound = Sound(audio, made.frames / made.fps) if audio else None
    return VideoFormat(output.format, output.options, made.width, made.height, made.fps, sound)
