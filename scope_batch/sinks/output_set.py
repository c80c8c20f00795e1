"""Checks and locks the outputs of a render, and opens their sinks and the thread that writes to them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from scope_batch.checkpoint.store import STORE
from scope_batch.core.plan import Delivery, Plan
from scope_batch.core.sound import SoundTrack
from scope_batch.errors import JobError, OutputExistsError
from scope_batch.media.patience import CheckStop, never_stop
from scope_batch.processors.chain import Chain
from scope_batch.sinks.command import Sound, VideoFormat
from scope_batch.sinks.encode import try_encoder
from scope_batch.sinks.latents import LatentsSink
from scope_batch.sinks.metadata import is_own_picture
from scope_batch.sinks.npy import NpySink
from scope_batch.sinks.output import (
    SIDECAR_FORMATS,
    Output,
    files_of,
    has_files,
    numbered,
    partial_path,
    picture_numbers,
    refuse_existing,
    refuse_folder,
    refuse_long_names,
    refuse_same_path,
    sidecar_path,
    work_path,
)
from scope_batch.sinks.png import PngSink, PreviewSink
from scope_batch.sinks.publish import Publication
from scope_batch.sinks.sink import Sink, stops_now
from scope_batch.sinks.stdout import STDOUT_FD, NpyStdout, VideoStdout, refuse_terminal
from scope_batch.sinks.video_file import VideoSink
from scope_batch.sinks.writer import BackgroundWriter, Commit, Look


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """Settings that all outputs of a render share.

    overwrite  replace existing files.
    metadata   `metadata_text(job)`, or None to store no job in the outputs.
    sound      sound track of every video output.
    preview    a PNG that shows the last frame of each chunk; latents: a safetensors file with every chunk's latents.
    job        identifies the job, also without metadata; equal jobs produce equal outputs.
    inputs     all local files and folders that the job reads; none of them is ever overwritten.
    chunks     path in whose work folder the chunks are stored; see `Publication` for keep_chunks and drop_chunks.
    """

    overwrite: bool = False
    metadata: str | None = None
    sound: SoundTrack | None = None
    preview: Path | None = None
    latents: Path | None = None
    job: str = ""
    inputs: tuple[Path, ...] = ()
    chunks: Path | None = None
    keep_chunks: bool = False
    drop_chunks: bool = False
    stdout_fd: int = STDOUT_FD


def check_outputs(outputs: Sequence[Output], plan: Plan, settings: SinkSettings) -> None:
    """Checks the outputs before a model is loaded; nothing is written.

    Raises JobError (a path twice, an input, a wrong extension, an encoder that rejects its options), OutputExistsError,
    OutputError (a folder that cannot be created or written), UsageError (standard output is a terminal).
    """
    _check_extras(outputs, settings)
    for output in outputs:
        if output.path is None:
            refuse_terminal(settings.stdout_fd)
        else:
            _refuse_existing(output, overwrite=settings.overwrite)
    for path in _paths(outputs, settings):
        refuse_folder(path)
        refuse_long_names(
            path, numbered(path, plan.delivery.frames - 1).name if path in _sequences(outputs) else path.name
        )
    for output in outputs:
        if output.options is not None:
            try_encoder(_video_format(output, plan.delivery, settings.sound))


def any_output_exists(outputs: Sequence[Output], settings: SinkSettings) -> bool:
    """Return whether a file of an output exists, or a work folder of an earlier render."""
    return any(has_files(path) or os.path.lexists(work_path(path)) for path in _paths(outputs, settings))


def complete_earlier_render(outputs: Sequence[Output], settings: SinkSettings) -> bool:
    """Publish the outputs that a killed render had finished, and remove its unfinished files.

    Returns True if it rendered this same job to exactly these outputs, so that nothing remains to be rendered.
    Raises TemporaryError if another process writes one of them.
    """
    if not any(os.path.lexists(work_path(path)) for path in _paths(outputs, settings)):
        return False
    with claim_outputs(outputs, replace(settings, drop_chunks=False)) as publication:
        if publication.completed:
            publication.finish_chunks()
        return publication.completed


def remove_stored_chunks(outputs: Sequence[Output], settings: SinkSettings) -> None:
    """Remove the chunks that a finished render left because it was killed before it could remove them."""
    folders = (work_path(path) / STORE for path in {*_paths(outputs, settings), *filter(None, [settings.chunks])})
    if any(folder.is_dir() for folder in folders):
        with claim_outputs(outputs, replace(settings, drop_chunks=False)) as publication:
            publication.finish_chunks()


def remove_work_folder(path: Path) -> None:
    """Remove the work folder of the output `path` with the chunks in it. Raises TemporaryError, OutputError."""
    with Publication([], chunks=path, drop_chunks=True):
        pass


def claim_outputs(outputs: Sequence[Output], settings: SinkSettings) -> Publication:
    """Return a context that locks the outputs. Entering it raises TemporaryError if another process has locked one."""
    previews = [] if settings.preview is None else [settings.preview]
    return Publication(
        [path for path in _paths(outputs, settings) if path not in previews],
        previews=previews,
        job=settings.job,
        overwrite=settings.overwrite,
        chunks=settings.chunks,
        keep_chunks=settings.keep_chunks,
        drop_chunks=settings.drop_chunks,
    )


@contextmanager
def open_sinks(
    outputs: Sequence[Output],
    plan: Plan,
    settings: SinkSettings,
    publication: Publication,
    check_stop: CheckStop = never_stop,
    commit: Commit | None = None,
    look: Look | None = None,
    post: Chain | None = None,
) -> Iterator[BackgroundWriter]:
    """Open the sinks of all outputs; yields the writer that takes the chunks.

    publication  the entered context `claim_outputs` of the same outputs.
    check_stop   raises if the render has been asked to stop.
    commit, look see `BackgroundWriter`.
    post         the plan's post-processors with their models; None: none of them has one.

    Leaving the context without an exception verifies and publishes all outputs together. After an exception, each
    output that did not cause it keeps a partial file; after `Interrupted(now=True)` none does.
    """
    _check_extras(outputs, settings)
    for output in outputs:
        if output.path is not None:
            _refuse_existing(output, overwrite=settings.overwrite)  # loading the models may have taken minutes
    sinks = [_sink(output, plan.delivery, settings, publication, check_stop) for output in outputs]
    if settings.preview is not None:
        sinks.append(PreviewSink(settings.preview, publication))
    latents = None
    if settings.latents is not None:
        latents = LatentsSink(settings.latents, plan, publication, job=settings.metadata)
    post = Chain.of(plan.post_processors) if post is None else post
    stream = post.open(plan.height, plan.width) if post else None
    try:
        with ExitStack() as stack:
            for sink in (*sinks, *([] if latents is None else [latents])):
                stack.enter_context(sink)
            yield stack.enter_context(BackgroundWriter(sinks, latents, stream, commit, look))
        publication.publish()
    except BaseException as error:
        if not stops_now(error):
            publication.keep_partials(error)
        raise


def foreign_pictures(outputs: Sequence[Output], frames: int) -> list[str]:
    """Return a warning for each PNG sequence followed by pictures that scope-batch did not write, which are kept."""
    lines = []
    for path in _sequences(outputs):
        numbers = picture_numbers(path)
        count = sum(number >= frames and not is_own_picture(file) for file, number in numbers.items())
        if count:
            lines.append(f"{path}: {count} later pictures are kept: scope-batch did not write them")
    return lines


def _paths(outputs: Sequence[Output], settings: SinkSettings) -> list[Path]:
    """Return the paths of all outputs except standard output."""
    paths = (*(output.path for output in outputs), settings.latents, settings.preview)
    return [path for path in paths if path is not None]


def _sequences(outputs: Sequence[Output]) -> list[Path]:
    return [output.path for output in outputs if output.path is not None and output.format == "png"]


def _check_extras(outputs: Sequence[Output], settings: SinkSettings) -> None:
    refuse_same_path(_paths(outputs, settings))
    _refuse_inputs(outputs, settings)
    if settings.preview is not None:
        if settings.preview.suffix.lower() != ".png":
            raise JobError(f"--preview {settings.preview}: unknown extension; allowed: .png")
        refuse_existing(settings.preview, overwrite=settings.overwrite or is_own_picture(settings.preview))
    if settings.latents is not None:
        if settings.latents.suffix != ".safetensors":
            raise JobError(f"--latents {settings.latents}: unknown extension; allowed: .safetensors")
        refuse_existing(settings.latents, overwrite=settings.overwrite)


def _refuse_inputs(outputs: Sequence[Output], settings: SinkSettings) -> None:
    """Raises JobError, even with `overwrite`, if an output would replace or remove an input, or add pictures to it."""
    inputs = {os.path.realpath(path): path for path in settings.inputs}
    named = [("output", path) for output in outputs for path in _files_touched(output)]
    named += [("--preview", settings.preview)] if settings.preview else []
    named += [("--latents", path) for path in _with_partial(settings.latents)]
    for where, path in named:
        folder = os.path.realpath(path.parent) if path.suffix.lower() == ".png" else ""
        source = inputs.get(os.path.realpath(path)) or inputs.get(folder)
        if source is not None:
            raise JobError(f"{where} {path}: would overwrite the input {source}; choose another path")


def _files_touched(output: Output) -> tuple[Path, ...]:
    if output.path is None:
        return ()
    if output.format == "png":
        return (output.path, *files_of(output.path))
    files = _with_partial(output.path)
    return (*files, *map(sidecar_path, files)) if output.format in SIDECAR_FORMATS else files


def _with_partial(path: Path | None) -> tuple[Path, ...]:
    """Return a file and its partial, which is removed when the file is published."""
    return () if path is None else (path, partial_path(path))


def _refuse_existing(output: Output, *, overwrite: bool) -> None:
    assert output.path is not None
    if output.format != "png":
        refuse_existing(output.path, overwrite=overwrite)
        if output.format in SIDECAR_FORMATS:
            refuse_existing(sidecar_path(output.path), overwrite=overwrite)
        return
    existing = files_of(output.path)
    for file in existing:
        refuse_existing(file, overwrite=True)
    if existing and not overwrite:
        raise OutputExistsError(f"{output.path}: {len(existing)} pictures exist; replace them with --overwrite")


def _sink(
    output: Output, delivery: Delivery, settings: SinkSettings, publication: Publication, check_stop: CheckStop
) -> Sink:
    if output.path is None:
        return _stdout_sink(output, delivery, settings, check_stop)
    sidecar = settings.metadata if output.format in SIDECAR_FORMATS else None
    if output.format == "png":
        return PngSink(output.path, delivery.frames, publication, metadata=settings.metadata)
    if output.format == "npy":
        return NpySink(output.path, delivery.frames, delivery.height, delivery.width, publication, sidecar=sidecar)
    return VideoSink(
        output.path,
        delivery.frames,
        _video_format(output, delivery, settings.sound),
        publication,
        metadata=None if output.format in SIDECAR_FORMATS else settings.metadata,
        sidecar=sidecar,
        check_stop=check_stop,
    )


def _stdout_sink(output: Output, delivery: Delivery, settings: SinkSettings, check_stop: CheckStop) -> Sink:
    refuse_terminal(settings.stdout_fd)
    if output.format == "npy":
        return NpyStdout(delivery.frames, delivery.height, delivery.width, fd=settings.stdout_fd, check_stop=check_stop)
    metadata = None if output.format in SIDECAR_FORMATS else settings.metadata
    video = _video_format(output, delivery, settings.sound)
    return VideoStdout(video, metadata=metadata, fd=settings.stdout_fd, check_stop=check_stop)


def _video_format(output: Output, delivery: Delivery, track: SoundTrack | None) -> VideoFormat:
    assert output.options is not None
    sound = None if track is None else Sound(track, delivery.frames / delivery.fps)
    return VideoFormat(output.format, output.options, delivery.width, delivery.height, delivery.fps, sound)
