"""Lists the files that requests may name, and adds images and videos to them."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from scope_batch.errors import OutputError
from scope_batch.files.image_series import IMAGE_SUFFIXES
from scope_batch.media.clip import VIDEO_SUFFIXES
from scope_batch.serve.problem_documents import HttpProblem
from scope_batch.serve.roots import Root
from scope_batch.serve.uploads import Uploads

SUFFIXES = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
MAX_NAME_BYTES = 255
"""Longest name of a file, as file systems have it."""
_NAME = re.compile(r"\w[\w ().+-]{0,199}")


def entries(root: Root, suffixes: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Return the files under a root; their `path` is what a request may name. suffixes: only of these, if any."""
    return [
        {"name": name.rpartition("/")[2], "path": name}
        for name in root.names()
        if not suffixes or name.lower().endswith(suffixes)
    ]


async def add_asset(root: Root, uploads: Uploads, name: str, request: Request) -> dict[str, Any]:
    """Store the body of a request as a new file of the root; one that is there is never replaced.

    Raises HttpProblem: 422 for a name that is not allowed, 409 for one that is taken, and as an upload does.
    """
    too_long = len(name.encode(errors="replace")) > MAX_NAME_BYTES
    if too_long or not _NAME.fullmatch(name) or not name.lower().endswith(SUFFIXES):
        raise HttpProblem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"filename: must be a name of up to 200 letters, digits and _ ( ) . + - that ends in {' '.join(SUFFIXES)}, "
            f"and has {MAX_NAME_BYTES} bytes of UTF-8 at most",
        )
    handle, size = await uploads.receive_data(request)
    await run_in_threadpool(uploads.make_asset, handle, lambda source: _publish(source, root.folder, name))
    return {"name": name, "path": name, "size_bytes": size}


def _publish(source: Path, folder: Path, name: str) -> Path:
    """Copy a file into the folder under a hidden name, then give it its own, if that is free. Returns the copy."""
    part = f".{secrets.token_hex(8)}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=place)
            try:
                with source.open("rb") as data, os.fdopen(file, "wb") as copy:
                    shutil.copyfileobj(data, copy)
                os.link(part, name, src_dir_fd=place, dst_dir_fd=place)
            finally:
                os.unlink(part, dir_fd=place)
        finally:
            os.close(place)
    except FileExistsError:
        raise HttpProblem(HTTPStatus.CONFLICT, "filename: there is a file of that name already") from None
    except OSError as error:
        raise OutputError(f"{folder / name}: cannot be written: {error.strerror}") from error
    return folder / name
