"""The length of a job costs no memory: chunk by chunk in, chunk by chunk out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.render.helpers import ONE_THREAD, PROGRAM, SLATE, write_job

PEAK = (
    "import resource, sys; "
    "from scope_batch.__main__ import main; code = main(sys.argv[1:]); "
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss);"
    "sys.exit(code)"
)
MARGIN_KB = 64 << 10


def peaks_kb(folder: Path, frames: int, *outputs: str) -> tuple[int, int]:
    """The most memory that the program, and any child of it, has held."""
    job = write_job(folder / "job.yaml", SLATE, num_frames=frames, height=480, width=832)
    command = [PROGRAM[0], "-c", PEAK, "render", str(job), "-y", "-q"]
    for output in outputs:
        command += ["-o", output]
    done = subprocess.run(command, cwd=folder, env=ONE_THREAD, capture_output=True, text=True, check=True)
    own, child = map(int, done.stdout.split())
    return own, child


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.npy", "out.mp4"])
def test_ten_times_as_long_takes_as_much(tmp_path: Path, name: str) -> None:
    short, long = (peaks_kb(tmp_path, frames, name) for frames in (120, 1200))
    print(name, short, long)
    assert long[0] - short[0] < MARGIN_KB and long[1] - short[1] < MARGIN_KB
    (tmp_path / name).unlink()
