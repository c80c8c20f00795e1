"""`demo`: renders a film of five seconds on the built-in models, and shows its job and what to try next."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import typer

from scope_batch.cli.console import open_console
from scope_batch.cli.documents import print_text
from scope_batch.cli.environment import prepare_libraries
from scope_batch.errors import OutputExistsError

FOLDER = Path("scope-batch-demo")
FILM = FOLDER / "film.mp4"
TRY_NEXT = (
    f'scope-batch render {FOLDER}/job.yaml --set prompt="a green tree in a meadow" -o {FOLDER}/tree.mp4',
    f"scope-batch sheet {FILM}",
    "scope-batch help jobs",
)


def demo() -> int:
    """Render a film of five seconds on the built-in models, in about 20 seconds, to scope-batch-demo/film.mp4."""
    prepare_libraries(verbose=False, deterministic=False)
    job = _write_files()
    with open_console("auto", None, verbose=False) as console:
        from scope_batch.cli.render import render_jobs
        from scope_batch.render.options import RenderOptions

        code = render_jobs([str(job)], (), RenderOptions(), console)
    if code != 0:
        return code
    commands = "".join(f"  {command}\n" for command in TRY_NEXT)
    text = job.read_text(encoding="utf-8")
    print_text(f"\nThe film is {FILM.resolve()}; this is its job, {job}:\n\n{text}\nTry next:\n\n{commands}")
    if sys.stdout.isatty() and _has_desktop():
        typer.launch(str(FILM))
    return code


def _write_files() -> Path:
    """Write the job and its depth video, unless they are there. Returns the path of the job.

    Raises OutputExistsError if the job there is another one; OutputError.
    """
    from scope_batch.guide import DEMO_DEPTH, DEMO_JOB
    from scope_batch.sinks.output import output_errors

    job = FOLDER / "job.yaml"
    with output_errors(FOLDER):
        FOLDER.mkdir(exist_ok=True)
        for path, content in ((job, DEMO_JOB.read_bytes()), (FOLDER / "depth.mp4", DEMO_DEPTH.read_bytes())):
            if not path.exists():
                path.write_bytes(content)
            elif path.read_bytes() != content:
                raise OutputExistsError(
                    f"{path}: is not the demo's any more; scope-batch render {job} -y renders what is there, "
                    f"and after {FOLDER} is removed demo begins anew"
                )
    return job


def _has_desktop() -> bool:
    if sys.platform == "darwin":
        return True
    has_display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return has_display and shutil.which("xdg-open") is not None
