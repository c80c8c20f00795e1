"""Render long AI video from one YAML job file.

The names below are the Python API. They are imported when they are first used, so that `import scope_batch` alone
brings neither torch nor pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from scope_batch.chunk import Chunk, Plan
    from scope_batch.engines import Engines
    from scope_batch.errors import JobError, OutputExistsError, ScopeBatchError, UnavailableError
    from scope_batch.events import ChunkDone, Event, Finished, Warned
    from scope_batch.job import Job, load_job, load_text
    from scope_batch.npy_stream import read_npy_stream
    from scope_batch.options import RenderOptions
    from scope_batch.prepare import prepare as prepare_job
    from scope_batch.render import render_job

__all__ = [
    "Chunk",
    "ChunkDone",
    "Engines",
    "Event",
    "Finished",
    "Job",
    "JobError",
    "OutputExistsError",
    "Plan",
    "RenderOptions",
    "ScopeBatchError",
    "UnavailableError",
    "Warned",
    "load_job",
    "load_text",
    "prepare_job",
    "read_npy_stream",
    "render_job",
]

_HOMES = {
    "chunk": ("Chunk", "Plan"),
    "errors": ("JobError", "OutputExistsError", "ScopeBatchError", "UnavailableError"),
    "events": ("ChunkDone", "Event", "Finished", "Warned"),
    "job": ("Job", "load_job", "load_text"),
    "npy_stream": ("read_npy_stream",),
    "prepare": ("prepare_job",),
    "engines": ("Engines",),
    "options": ("RenderOptions",),
    "render": ("render_job",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_INNER_NAMES = {"prepare_job": "prepare"}
"""`scope_batch.prepare` is the module."""


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), _INNER_NAMES.get(name, name))
    globals()[name] = value
    return value
