"""Tries hostile values for every argument and option: the program answers in few lines with an exit code, no bug."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import typer

import scope_batch.render.loop
import scope_batch.serve.server
from scope_batch.cli.app import app
from scope_batch.errors import EXIT_BUG
from scope_batch.render.loop import render_job

JOB = "pipeline_id: slate\nprompt: a\nnum_frames: 9\nheight: 64\nwidth: 64\n"
NEEDED: dict[tuple[str, ...], tuple[str, ...]] = {
    ("render",): ("job.yaml", "-q"),
    ("plan",): ("job.yaml",),
    ("import",): ("job.yaml",),
    ("info",): ("a.npy",),
    ("compare",): ("a.npy", "a.npy"),
    ("golden", "bless"): ("job.yaml",),
    ("golden", "verify"): ("job.yaml",),
    ("golden", "self-test"): ("job.yaml",),
    ("sheet",): ("a.npy",),
    ("report",): ("a.npy",),
    ("models", "check"): ("slate",),
    ("models", "pull"): ("longlive", "--dry-run"),
    ("bench",): ("job.yaml",),
    ("serve",): ("--port=0", "--state-dir=state"),
}
"""Arguments that a verb needs besides the tried value; a tried argument replaces the first one."""
SUFFIXES = {"jobs": ".yaml", "job": ".yaml", "file": ".npy", "clip": ".mp4", "--preview": ".png",
            "--latents": ".safetensors", "--output": ".mp4"}  # fmt: skip
"""Every value is tried with this at its end, too."""
LONGEST_LINE = 2000
"""Characters: an error may hold a command for each of three repositories, with a shortened path of 243 in each."""
PATIENCE_S = 60
"""After that a call counts as waiting for ever: a bug."""
VALUES = {
    "nothing": "",
    "a space": " ",
    "bytes that are no text": "\udcff\udcfe",
    "a name too long": "n" * 300,
    "a path too long": "d/" * 3000 + "n",
    "deep folders": f"/proc/{'d/' * 1500}n",
    "a line break": "a\nb",
    "an escape": "\x1b[31m",
    "a file of odd bytes": "odd\udcff",
    "a folder": "folder",
    "a file as a folder": "job.yaml/a",
    "a link to itself": "loop",
    "no end of zeros": "/dev/zero",
    "nothing at all": "/dev/null",
    "a full device": "/dev/full",
    "a foreign home": "~nobody-here/a",
    "the root": "/",
    "a number without end": "9" * 5000,
    "brackets": "[" * 3000,
    "a hole": "{job",
    "a number pattern": "%99999999d",
    "a fraction": "1/0",
    "an infinity": "inf",
    "a dash": "-",
    "a key": "prompt.0=1",
    "a key without a value": "seed=",
    "a long number for a key": f"seed={'9' * 5000}",
    "nesting for a key": f"output={'[' * 3000}",
    "a long key": f"{'a.' * 3000}b=1",
}


def _verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _verbs(inner, (*path, name))
    else:
        yield path, command


PARAMETERS = [
    pytest.param(verb, parameter, id=" ".join((*verb, parameter.opts[-1])))
    for verb, command in _verbs(typer.main.get_command(app))
    for parameter in command.params
    if not getattr(parameter, "is_flag", False) and verb != ("doctor",)
]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes the files that the values name, uses the real render, and ends a call that waits for ever."""
    monkeypatch.setattr(scope_batch.render.loop, "render_job", render_job)
    monkeypatch.setenv("SCOPE_BATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(scope_batch.serve.server, "Supervisor", MagicMock())
    monkeypatch.setattr(scope_batch.serve.server, "_Server", MagicMock())  # the server ends as soon as it has begun
    (tmp_path / "job.yaml").write_text(JOB)
    for name in ("odd\udcff", "odd\udcff.yaml", "odd\udcff.mp4", "odd\udcff.npy"):
        (tmp_path / name).write_text(JOB)
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    before = signal.signal(signal.SIGALRM, _too_late)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def _too_late(*_: object) -> None:
    raise RuntimeError("waits for ever")


@pytest.mark.parametrize(("verb", "parameter"), PARAMETERS)
def test_every_value_is_answered_with_few_short_lines(run, verb: tuple[str, ...], parameter: Any) -> None:
    needed = NEEDED.get(verb, ())
    for name, value in VALUES.items():
        for suffix in {"", SUFFIXES.get(parameter.opts[-1], "")}:
            word = value + suffix
            signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
            if parameter.param_type_name == "argument":
                ran = run(*verb, *needed[1:], "--", word)
            else:
                ran = run(*verb, *needed, f"{parameter.opts[-1]}={word}")
            signal.setitimer(signal.ITIMER_REAL, 0)
            errors = [line for line in ran.err.splitlines() if line.startswith("error: ")]
            shown = f"{name}: exit code {ran.code}: {ran.err[:500]}"
            assert ran.code != EXIT_BUG, shown
            assert ran.code in (0, 1) or 1 <= len(errors) <= 3, shown
            assert max(map(len, errors), default=0) < LONGEST_LINE, shown
