import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scope_batch.checkpoint.store import STORE
from scope_batch.errors import OutputError, TemporaryError
from scope_batch.sinks import orphans, work_folder
from scope_batch.sinks.work_folder import WorkFolder

NOBODY = 4_000_000
"""A process id that no process has: Linux hands out smaller ones."""


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    return WorkFolder(tmp_path / "a.npy")


@pytest.fixture
def left(tmp_path: Path, work: WorkFolder) -> Path:
    """The folder of a killed render: it is signed and holds a file, and no process has locked it."""
    work.acquire()
    work.write("a.npy", b"old")
    work.release()
    return tmp_path / ".a.npy.work"


def test_a_writer_that_is_about_to_exit_is_waited_for(tmp_path: Path, work: WorkFolder, monkeypatch):
    monkeypatch.setattr(work_folder, "BUSY_WAIT_S", 60)
    work.acquire()
    leaving = threading.Timer(0.2, work.release)
    leaving.start()
    other = WorkFolder(tmp_path / "a.npy")
    other.acquire()
    leaving.join()
    other.remove()


def test_two_writers_of_one_output_are_refused(tmp_path: Path, work: WorkFolder, names, monkeypatch):
    monkeypatch.setattr(work_folder, "BUSY_WAIT_S", 0)
    work.acquire()
    with pytest.raises(TemporaryError, match="another process is writing it"):
        WorkFolder(tmp_path / "a.npy").acquire()
    work.remove()
    work.acquire()
    work.remove()
    assert names() == []


def test_the_folder_is_private_and_each_file_a_new_one(tmp_path: Path, work: WorkFolder):
    work.acquire()
    assert (tmp_path / ".a.npy.work").stat().st_mode & 0o777 == 0o700
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    for plant in (Path.symlink_to, Path.hardlink_to):
        plant(tmp_path / ".a.npy.work" / "a.npy", victim)
        work.write("a.npy", b"new")
        assert victim.read_bytes() == b"mine"
        assert (tmp_path / ".a.npy.work" / "a.npy").read_bytes() == b"new"
        work.clear()
    work.remove()


def plant_link_to_folder(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def plant_file(path: Path, victim: Path) -> None:  # noqa: ARG001
    path.write_bytes(b"mine")


def plant_folder(path: Path, victim: Path) -> None:  # noqa: ARG001
    path.mkdir()
    (path / "thesis").write_bytes(b"mine")


def plant_linked_lock(path: Path, victim: Path) -> None:
    path.mkdir()
    (path / "lock").symlink_to(victim / "empty")


def plant_hard_lock(path: Path, victim: Path) -> None:
    path.mkdir()
    (path / "lock").hardlink_to(victim / "empty")


def plant_pipe(path: Path, victim: Path) -> None:  # noqa: ARG001
    path.mkdir()
    os.mkfifo(path / "lock")


@pytest.mark.parametrize(
    "plant",
    [plant_link_to_folder, plant_file, plant_folder, plant_linked_lock, plant_hard_lock, plant_pipe],
)
def test_anything_but_a_work_folder_at_its_name_is_refused_and_kept(tmp_path: Path, work: WorkFolder, plant):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "empty").touch()
    plant(tmp_path / ".a.npy.work", victim)
    before = {path: path.lstat() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match=r"\.a\.npy\.work is in the way"):
        work.acquire()
    assert {path: path.lstat() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert [path.name for path in victim.iterdir()] == ["empty"]


@pytest.mark.parametrize("plant", [plant_link_to_folder, plant_file], ids=["link", "file"])
def test_anything_but_a_folder_at_the_name_of_the_stored_chunks_is_refused(tmp_path: Path, work, left: Path, plant):
    victim = tmp_path / "victim"
    victim.mkdir()
    plant(left / STORE, victim)
    with pytest.raises(OutputError, match=r"\.a\.npy\.work/chunks is in the way and is not a folder; remove it"):
        work.acquire()
    assert os.path.lexists(left / STORE)


def test_a_link_to_another_work_folder_is_refused(tmp_path: Path, work: WorkFolder, left: Path):
    (tmp_path / ".b.npy.work").symlink_to(left)
    with pytest.raises(OutputError, match=r"\.b\.npy\.work is in the way"):
        WorkFolder(tmp_path / "b.npy").acquire()
    work.acquire()
    assert work.files() == ["a.npy"]
    work.remove()


def test_a_folder_without_owner_is_taken_over(work: WorkFolder, left: Path):
    work.acquire()
    assert work.files() == ["a.npy"]
    work.remove()
    assert not left.exists()


@pytest.mark.parametrize("content", [(), ("lock",)])
def test_a_folder_whose_owner_died_before_signing_it_is_taken_over(tmp_path: Path, work: WorkFolder, names, content):
    (tmp_path / ".a.npy.work").mkdir()
    for name in content:
        (tmp_path / ".a.npy.work" / name).touch()
    work.acquire()
    work.remove()
    assert names() == []


def test_the_lock_lasts_as_long_as_a_child_that_inherits_it(tmp_path: Path, work: WorkFolder, monkeypatch):
    monkeypatch.setattr(work_folder, "ORPHAN_WAIT_S", 0)
    work.acquire()
    with subprocess.Popen(["sleep", "60"], pass_fds=[work.lock_fd]) as encoder:
        os.pwrite(work.lock_fd, b"%10d" % NOBODY, len("work folder of scope-batch, process "))
        work.release()  # as if this process had been killed
        with pytest.raises(TemporaryError, match="the encoder of a killed render"):
            WorkFolder(tmp_path / "a.npy").acquire()
        encoder.kill()
        encoder.wait()
    work.acquire()
    work.remove()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_an_orphaned_encoder_is_ended_even_if_it_is_stopped(tmp_path: Path, work: WorkFolder):
    """It holds the lock and names a file of the work folder, as an encoder does; another holder is left alone."""
    work.acquire()
    program = [sys.executable, "-c", "import time; time.sleep(60)"]
    encoder = subprocess.Popen([*program, str(tmp_path / ".a.npy.work" / "a.npy")], pass_fds=[work.lock_fd])
    with subprocess.Popen(program, pass_fds=[work.lock_fd]) as other, encoder:
        encoder.send_signal(signal.SIGSTOP)
        fd = os.dup(work.lock_fd)
        work.release()
        orphans.end_orphans(fd, tmp_path / ".a.npy.work")
        assert encoder.wait() == -signal.SIGKILL and other.poll() is None
        other.kill()
        os.close(fd)
    work.acquire()
    work.remove()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_the_encoder_of_a_living_render_is_left_alone(tmp_path: Path, work: WorkFolder, monkeypatch):
    """Its parent holds the lock too: here this process, seen by another one."""
    work.acquire()
    program = [sys.executable, "-c", "import time; time.sleep(60)", str(tmp_path / ".a.npy.work" / "a.npy")]
    with subprocess.Popen(program, pass_fds=[work.lock_fd]) as encoder:
        parent = os.getpid()
        monkeypatch.setattr(orphans.os, "getpid", lambda: NOBODY)
        monkeypatch.setattr(orphans.os, "kill", lambda pid, _: pytest.fail(f"killed {pid}, a child of {parent}"))
        orphans.end_orphans(work.lock_fd, tmp_path / ".a.npy.work")
        monkeypatch.undo()
        encoder.kill()
    work.remove()


def test_an_orphaned_encoder_that_is_about_to_end_is_waited_for(work: WorkFolder):
    work.acquire()
    with subprocess.Popen(["sleep", "0.2"], pass_fds=[work.lock_fd]):
        os.pwrite(work.lock_fd, b"%10d" % NOBODY, len("work folder of scope-batch, process "))
        work.release()
        work.acquire()
        work.remove()


def test_a_replaced_file_is_noticed(tmp_path: Path, work: WorkFolder):
    work.acquire()
    fd = work.create("a.npy")
    work.refuse_other_file("a.npy", fd)
    (tmp_path / "other").touch()
    (tmp_path / "other").rename(tmp_path / ".a.npy.work" / "a.npy")
    with pytest.raises(OutputError, match="the file was replaced by another one"):
        work.refuse_other_file("a.npy", fd)
    os.close(fd)
    work.remove()


def test_folders_that_were_made_for_nothing_go_again(tmp_path: Path, names):
    work = WorkFolder(tmp_path / "new" / "er" / "a.npy")
    work.acquire()
    work.remove()
    assert names() == []


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/a\.npy"):
        WorkFolder(tmp_path / "file" / "a.npy").acquire()
