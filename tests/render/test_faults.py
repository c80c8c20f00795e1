"""Faults in the middle of real renders: the exit code and the files that remain."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.render.helpers import (
    PROGRAM,
    SLATE,
    TINY,
    decode,
    load_frames,
    names_in,
    running,
    write_job,
)

ENDLESS = 200_000
LARGE = {"height": 320, "width": 576}


def whole_chunks(frames: int) -> bool:
    return frames >= 9 and (frames - 9) % 12 == 0


@pytest.fixture
def endless(tmp_path: Path) -> str:
    """A job that no test waits for."""
    return write_job(tmp_path / "job.yaml", SLATE, num_frames=ENDLESS).name


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_keeps_whole_chunks(tmp_path: Path, endless: str, number: signal.Signals, code: int) -> None:
    outputs = ["-o", "a.mp4", "-o", "b.npy", "-o", "c.mkv", "--force", "--checkpoint-every", "0"]
    with running(tmp_path, endless, *outputs) as render:
        render.chunks(3)
        render.process.send_signal(number)
        assert render.rest() == code
    last = render.lines[-2]
    assert (last["event"], last["outcome"]) == ("finished", "interrupted")
    frames = len(load_frames(tmp_path / "b.partial.npy"))
    assert whole_chunks(frames) and frames == last["frames"] >= 33
    assert len(decode(tmp_path / "a.partial.mp4")) == len(decode(tmp_path / "c.partial.mkv")) == frames
    left = {"job.yaml", "a.partial.mp4", "b.partial.npy", "b.partial.npy.json", "c.partial.mkv"}
    assert names_in(tmp_path) == left


def test_a_later_success_removes_the_partial(tmp_path: Path, endless: str) -> None:
    with running(tmp_path, endless, "-o", "b.npy", "-o", "a.mp4", "--force") as render:
        render.chunks(1)
        render.process.send_signal(signal.SIGINT)
        render.rest()
    assert (tmp_path / "b.partial.npy").exists()
    with running(tmp_path, endless, "--set", "num_frames=20", "-o", "b.npy", "-o", "a.mp4") as render:
        assert render.rest() == 0
    assert names_in(tmp_path) == {"job.yaml", "a.mp4", "b.npy", "b.npy.json"}


@pytest.mark.slow
def test_the_second_signal_stops_at_once(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.yaml", TINY, num_frames=600, height=256, width=256)
    with running(tmp_path, job, "-o", "a.mp4", "-o", "b.npy") as render:
        render.until(lambda line: line["event"] == "stage")
        (encoder,) = render.encoders()
        render.process.send_signal(signal.SIGINT)
        render.until(lambda line: line["event"] == "note" and "finishing chunk" in line["message"])
        render.process.send_signal(signal.SIGINT)
        assert render.rest() == 130
    assert not encoder.is_running() and names_in(tmp_path) == {"job.yaml"}
    assert render.lines[-2]["outcome"] == "interrupted" and not any(line["event"] == "chunk" for line in render.lines)


def test_a_killed_encoder(tmp_path: Path, endless: str) -> None:
    outputs = ["-o", "a.mp4", "-o", "b.npy", "--force", "--checkpoint-every", "0"]
    with running(tmp_path, endless, *outputs) as render:
        render.chunks(6)  # more than the writer holds back
        (encoder,) = render.encoders()
        encoder.kill()
        assert render.rest() == 75
    assert render.error == "a.mp4: the encoder was killed (SIGKILL)"
    assert render.lines[-2]["outcome"] == "failed"
    assert names_in(tmp_path) == {"job.yaml", "b.partial.npy", "b.partial.npy.json"}
    assert len(load_frames(tmp_path / "b.partial.npy")) >= 9


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting needs rights that this process lacks")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("name", ["a.npy", "a.mkv", "a.mp4", "%05d.png"])
def test_a_full_disk(tmp_path: Path, small_disk: Path, name: str) -> None:
    job = write_job(tmp_path / "job.yaml", SLATE, num_frames=20_000, **LARGE)
    with running(tmp_path, job, "-o", small_disk / name, "--force") as render:
        assert render.rest() == 74
    assert "No space left on device" in render.error and len(render.error.splitlines()) == 1
    if "%" not in name:
        assert names_in(small_disk) <= {"a.partial.npy"}


def test_a_small_disk_is_seen_before_anything_is_loaded(tmp_path: Path, small_disk: Path) -> None:
    job = write_job(tmp_path / "job.yaml", TINY, num_frames=20_000)
    with running(tmp_path, job, "-o", small_disk / "a.npy") as render:
        assert render.rest() == 74
    assert "--force" in render.error and names_in(small_disk) == set()
    assert not any(line["event"] == "loading" for line in render.lines)


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


@pytest.mark.parametrize("name", ["a.npy", "a.mkv"])
def test_a_limit_on_file_sizes(tmp_path: Path, name: str) -> None:
    job = write_job(tmp_path / "job.yaml", SLATE, num_frames=2_000, **LARGE)
    with running(tmp_path, job, "-o", name, "--checkpoint-every", "0", preexec_fn=limit_file_size) as render:
        assert render.rest() == 74
    assert render.error.startswith(f"{name}: ") and names_in(tmp_path) == {"job.yaml"}


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (350 << 20, 350 << 20))


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))


@pytest.mark.parametrize(
    ("limit", "words"), [(limit_memory, r"350 MiB of memory \(ulimit -v\)"), (limit_files, "Too many open files")]
)
def test_a_limit_of_the_machine_is_not_an_error_of_the_job(tmp_path: Path, limit: Any, words: str) -> None:
    write_job(tmp_path / "job.yaml", SLATE, num_frames=9, **LARGE)
    command = [*PROGRAM, "render", "job.yaml", "-o", "a.mp4", "-q"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 75 and re.search(words, done.stderr) and len(done.stderr.splitlines()) == 1, done.stderr
    assert names_in(tmp_path) == {"job.yaml"}


@pytest.mark.parametrize("form", ["npy", "nut", "mp4"])
def test_a_full_disk_behind_standard_output_is_one_line(tmp_path: Path, form: str) -> None:
    job = write_job(tmp_path / "job.yaml", SLATE, num_frames=9)
    done = shell(tmp_path, f"RENDER {job} -f {form} -o - -q > /dev/full")
    assert done.returncode == 74 and done.stderr.count(b"\n") == 1 and b"No space left on device" in done.stderr


def shell(folder: Path, command: str) -> subprocess.CompletedProcess[bytes]:
    program = f'"{PROGRAM[0]}" -m scope_batch render'
    script = f"set -o pipefail; {command.replace('RENDER', program).replace('PYTHON', sys.executable)}"
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True)


@pytest.mark.parametrize("form", ["npy", "nut", "mkv"])
def test_a_reader_that_has_seen_enough(tmp_path: Path, endless: str, form: str) -> None:
    done = shell(tmp_path, f"RENDER {endless} -f {form} -o - -q | head -c 100 | wc -c")
    assert (done.returncode, done.stdout.strip()) == (141, b"100")
    assert names_in(tmp_path) == {"job.yaml"}


READER = "import sys; from scope_batch.sinks.npy import read_npy_stream as r; import numpy as np; "


def test_python_reads_the_pipe(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.yaml", SLATE, num_frames=50).name
    reader = READER + "np.save('read', np.stack(list(r(sys.stdin.buffer))))"
    done = shell(tmp_path, f'RENDER {job} -o - -o file.npy -q | PYTHON -c "{reader}"')
    assert (done.returncode, done.stderr) == (0, b"")
    assert np.array_equal(load_frames(tmp_path / "read.npy"), load_frames(tmp_path / "file.npy"))


def test_ffmpeg_reads_the_pipe(tmp_path: Path) -> None:
    import imageio_ffmpeg

    job = write_job(tmp_path / "job.yaml", SLATE, num_frames=50).name
    reader = f"{imageio_ffmpeg.get_ffmpeg_exe()} -loglevel error -i - -c:v ffv1 -pix_fmt bgr0 read.mkv"
    done = shell(tmp_path, f"RENDER {job} -f nut -o - -o file.npy -q | {reader}")
    assert (done.returncode, done.stderr) == (0, b"")
    assert np.array_equal(decode(tmp_path / "read.mkv"), load_frames(tmp_path / "file.npy"))


def test_the_time_limit(tmp_path: Path, endless: str) -> None:
    with running(tmp_path, endless, "-o", "b.npy", "--force", "--timeout", "5") as render:
        assert render.rest() == 124
    assert render.error == "the time limit of 5 s is over" and render.lines[-2]["outcome"] == "interrupted"
    if any(line["event"] == "chunk" for line in render.lines):  # a busy machine may not have come so far
        assert whole_chunks(len(load_frames(tmp_path / "b.partial.npy")))
    assert not (tmp_path / "b.npy").exists()


def test_two_renders_of_one_output(tmp_path: Path, endless: str) -> None:
    with running(tmp_path, endless, "-o", "b.npy", "--force") as first:
        first.chunks(1)
        with running(tmp_path, endless, "-o", "b.npy", "--force") as second:
            assert second.rest() == 75
        first.process.send_signal(signal.SIGINT)
        assert first.rest() == 130
    assert re.fullmatch(
        r"b\.npy: another process is writing it: process \d+ has locked \.b\.npy\.work/lock", second.error
    )


def test_nothing_of_ours_stays_behind(tmp_path: Path, endless: str) -> None:
    """`kill -9` of the render itself: its encoder sees the end of its input and goes, and the next run succeeds."""
    with running(tmp_path, endless, "-o", "a.mp4", "--force") as render:
        render.chunks(1)
        encoders = render.encoders()
        render.process.kill()
        render.rest()
    assert psutil.wait_procs(encoders, timeout=60)[1] == []
    assert names_in(tmp_path) == {"job.yaml", ".a.mp4.work"}
    with running(tmp_path, endless, "-o", "a.mp4", "--set", "num_frames=9") as again:
        assert again.rest() == 0
    assert names_in(tmp_path) == {"job.yaml", "a.mp4"}
