"""A few runs of the soak script; by hand it makes hundreds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kill.py")


@pytest.mark.slow
@pytest.mark.parametrize("options", ["--points --every 37 --chunks 7", "--runs 3 --faults 149 --chunks 7"])
def test_a_killed_render_continues_to_the_same_bytes(tmp_path: Path, options: str) -> None:
    command = [sys.executable, "-W", "ignore", str(SCRIPT), *options.split()]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=SCRIPT.parents[2], env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert [*tmp_path.glob("soak-*")] == []
