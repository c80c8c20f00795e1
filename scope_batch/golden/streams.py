"""Opens everything that can be compared as a stream of frames: files, folders, standard input, a job."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

from scope_batch.errors import JobError, MissingInputError
from scope_batch.events import Report, silent
from scope_batch.files.image_series import is_pattern
from scope_batch.job import Job
from scope_batch.media.open import open_source
from scope_batch.media.source import Closing, Frame, Source
from scope_batch.plan.view.film_map import FilmMap
from scope_batch.render.chunk_stream import render_chunks
from scope_batch.render.engine_pool import Engines
from scope_batch.render.options import DEFAULT_OPTIONS, RenderOptions
from scope_batch.render.prepare import prepare_job
from scope_batch.sinks.metadata import FILM_ENTRY, read_metadata
from scope_batch.sinks.npy import read_npy_stream
from scope_batch.storage.fetch import fetch_argument

STDIN = "-"


@dataclass
class FrameStream(Closing):
    """Frames in order, read once.

    frames  yields uint8 [H, W, 3].
    count   number of frames, None where only the end tells.
    fps     None where nothing states a rate.
    map     its chunks and prompts, None where nothing tells them.
    """

    name: str
    frames: Iterator[Frame]
    count: int | None = None
    fps: Fraction | None = None
    map: FilmMap | None = None
    source: Source | None = field(default=None, repr=False)

    def close(self) -> None:
        if isinstance(self.frames, Generator):
            self.frames.close()  # ends a render that runs
        if self.source is not None:
            self.source.close()


def open_stream(argument: str) -> FrameStream:
    """Open a video, an array, a picture, a folder or pattern of pictures, or `-` for an NPY stream on standard input.

    Raises MissingInputError, or JobError for what cannot be read.
    """
    if argument == STDIN:
        frames = read_npy_stream(sys.stdin.buffer)
        try:
            return FrameStream("standard input", chain([next(frames)], frames))
        except StopIteration:
            raise JobError("standard input holds no frames") from None
    path = Path(fetch_argument(argument))
    source = open_source(path)
    film_map = FilmMap.of_json(carried_metadata(path).get(FILM_ENTRY))
    fps = source.timing.nominal_fps if source.timing.stated else None
    if fps is None and film_map is not None:
        fps = film_map.fps
    frames = (source.frame(index) for index in range(source.frames))
    return FrameStream(argument, frames, source.frames, fps, film_map, source)


def job_stream(
    job: Job,
    name: str,
    options: RenderOptions = DEFAULT_OPTIONS,
    report: Report = silent,
    engines: Engines | None = None,
) -> FrameStream:
    """Return the frames that a job renders, as they are made. Raises the errors of a render."""
    plan = prepare_job(job)

    def frames() -> Iterator[Frame]:
        with closing(render_chunks(job, options, report, engines=engines)) as chunks:
            for made in chunks:
                yield from made.frames

    return FrameStream(name, frames(), plan.delivery.frames, plan.delivery.fps, FilmMap.of_plan(plan))


def carried_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata that a render left in a file, or in the first picture of a folder; {} if there is none."""
    if is_pattern(path) or path.is_dir():
        folder = path if path.is_dir() else path.parent
        path = min(folder.glob("*.png"), default=path)
    try:
        return read_metadata(path)
    except (JobError, MissingInputError):
        return {}
