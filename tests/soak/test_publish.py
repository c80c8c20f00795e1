"""A few runs of the soak script; by hand it makes hundreds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("publish.py")


@pytest.mark.slow
@pytest.mark.parametrize("options", ["--runs 6", "--orphans 2", "--steps 9"])
def test_no_kill_leaves_a_wrong_byte(tmp_path: Path, options: str) -> None:
    command = [sys.executable, "-W", "ignore", str(SCRIPT), *options.split()]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=SCRIPT.parents[2], env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert [*tmp_path.iterdir()] == []
