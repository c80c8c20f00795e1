"""Checks whether this machine can render, and gives advice if it cannot. Each module checks one part of it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from scope_batch.doctor.finding import Finding, first_line


def examine(models: str | None, folder: Path, *, render: bool = False) -> Iterator[Finding]:
    """Yield every finding as soon as it is known. Takes some seconds, most of them for importing torch.

    models  as for `models_folder`. folder  its disk is measured. render  also render the tiny set.
    """
    checks: dict[str, tuple[object, ...]] = {
        "versions": (),
        "devices": (),
        "attention": (),
        "video_encoders": (),
        "plugins": (),
        "model_files": (models,),
        "disks": (folder,),
    }
    for name, arguments in (checks | ({"rendering": ()} if render else {})).items():
        try:
            # Imported lazily, so that a missing package fails only its own check.
            yield from import_module(f"scope_batch.doctor.{name}").check(*arguments)
        except (
            ImportError,
            OSError,
        ) as error:  # OSError: the package is there, but not the libraries it loads
            text = f"{name.replace('_', ' ')} cannot be looked at: {first_line(error)}"
            full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EROFS, errno.EACCES)
            yield Finding("package", "fault", text, "see the disks" if full else "install the packages named above")
