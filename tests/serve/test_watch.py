"""The watch over these tests sees what it is to see."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serve.conftest import WATCH


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("open('inside/x', 'w').close(); os.rename('inside/x', 'inside/y'); os.remove('inside/y')", ""),
        ("import shutil; os.makedirs('inside/a/b'); shutil.rmtree('inside/a')", ""),
        ("import shutil; os.makedirs('inside/a/b'); shutil.rmtree('a', dir_fd=os.open('inside', os.O_RDONLY))", ""),
        ("open('outside/x')", "open read"),
        ("open('inside/secret.txt')", "open read"),
        ("open('inside/link')", "open read"),
        ("open('outside/y', 'w').close()", "open write"),
        ("os.remove('outside/x')", "os.remove write"),
        ("os.rename('inside/secret.txt', 'outside/y')", "os.rename write"),
        ("os.unlink('../outside/x', dir_fd=os.open('inside', os.O_RDONLY))", "os.remove write"),
        ("os.close(os.open('link', os.O_RDONLY, dir_fd=os.open('inside', os.O_RDONLY)))", "open read"),
        ("os.mkdir('outside/z')", "os.mkdir write"),
        ("os.listdir('outside')", "os.listdir read"),
        ("import asyncio, time; loop = asyncio.new_event_loop(); loop.call_soon(time.sleep, 0.2); loop.call_soon("
         "loop.stop); loop.run_forever(); loop.close()", "the event loop stood still"),
    ],
)  # fmt: skip
def test_a_fault_is_reported(code: str, fault: str, tmp_path: Path) -> None:
    for folder in ("inside", "outside"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "secret.txt").touch()
    (tmp_path / "outside" / "x").touch()
    (tmp_path / "inside" / "link").symlink_to("../outside/x")
    report = tmp_path / "inside" / "report"
    watched = {
        "SCOPE_BATCH_WATCH_REPORT": str(report),
        "SCOPE_BATCH_WATCH_FOLDERS": str(tmp_path / "inside"),
        "PYTHONPATH": str(WATCH.parent),
    }
    command = [sys.executable, "-c", f"import os; {code}"]
    subprocess.run(command, env={**os.environ, **watched}, cwd=tmp_path, check=True)
    told = report.read_text()
    assert (fault in told) if fault else (told == "")
