"""Is this machine fit to render, and if not, what to do: each module looks at one part of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scope_batch.doctor.finding import Finding


def examine(models: str | None, folder: Path, *, render: bool = False) -> Iterator[Finding]:
    """Every finding, as soon as it is made. Some seconds, most of them for importing torch.

    models  as for `models_folder`. folder  whose disk is measured. render  with a short render of the tiny set.
    """
    from scope_batch.doctor.attention import attention
    from scope_batch.doctor.devices import devices
    from scope_batch.doctor.disks import cache, disk
    from scope_batch.doctor.encoders import ffmpeg
    from scope_batch.doctor.model_files import model_files
    from scope_batch.doctor.rendering import tiny_render
    from scope_batch.doctor.versions import versions

    yield from versions()
    yield from devices()
    yield from attention()
    yield from ffmpeg()
    yield from model_files(models)
    yield cache()
    yield disk(folder)
    if render:
        yield tiny_render()
