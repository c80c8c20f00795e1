"""Render long AI video from one YAML job file.

The names below are the Python API. They are imported when they are first used, so that `import scope_batch` alone
brings neither torch nor pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from scope_batch.core.plan import Chunk, Plan
    from scope_batch.errors import JobError, OutputExistsError, ScopeBatchError, UnavailableError
    from scope_batch.events import ChunkDone, Event, Finished, Warned
    from scope_batch.files.film import Film
    from scope_batch.job import Job, load_job, load_text
    from scope_batch.render.chunk_stream import RenderedChunk, render_chunks
    from scope_batch.render.engine_pool import Engines
    from scope_batch.render.loop import render_job
    from scope_batch.render.options import RenderOptions
    from scope_batch.render.prepare import prepare_job
    from scope_batch.sinks.npy import read_npy_stream

__all__ = [
    "Chunk",
    "ChunkDone",
    "Engines",
    "Event",
    "Film",
    "Finished",
    "Job",
    "JobError",
    "OutputExistsError",
    "Plan",
    "RenderOptions",
    "RenderedChunk",
    "ScopeBatchError",
    "UnavailableError",
    "Warned",
    "load_job",
    "load_text",
    "prepare_job",
    "read_npy_stream",
    "render_chunks",
    "render_job",
]

_HOMES = {
    "core.plan": ("Chunk", "Plan"),
    "errors": ("JobError", "OutputExistsError", "ScopeBatchError", "UnavailableError"),
    "events": ("ChunkDone", "Event", "Finished", "Warned"),
    "files.film": ("Film",),
    "job": ("Job", "load_job", "load_text"),
    "sinks.npy": ("read_npy_stream",),
    "render.prepare": ("prepare_job",),
    "render.chunk_stream": ("RenderedChunk", "render_chunks"),
    "render.engine_pool": ("Engines",),
    "render.options": ("RenderOptions",),
    "render.loop": ("render_job",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
