import errno
import os
import resource
import signal
from pathlib import Path

import pytest

from scope_batch.errors import TemporaryError, TimeLimitError, UnavailableError
from scope_batch.media import ffmpeg, patience


def test_a_call_returns_status_and_text():
    done = ffmpeg.run_quiet(["-version"])
    assert done.returncode == 0 and done.stdout.startswith("ffmpeg version")


def test_a_failing_call_tells_why_on_one_line_without_addresses():
    done = ffmpeg.run_quiet([*ffmpeg.QUIET, "-i", "file:/nowhere.mp4", "-f", "null", "-"])
    words = ffmpeg.last_lines(done.stderr)
    assert done.returncode != 0
    assert "No such file" in words and "\n" not in words and "0x" not in words


def test_a_call_that_stands_still_after_the_time_limit_is_killed(monkeypatch):
    def out_of_time() -> None:
        raise TimeLimitError("the time is over")

    started = ffmpeg.subprocess.Popen.communicate

    def stopped(process, *args, **more):
        os.kill(process.pid, signal.SIGSTOP)
        return started(process, *args, **more)

    monkeypatch.setattr(ffmpeg.subprocess.Popen, "communicate", stopped)
    monkeypatch.setattr(patience, "STALL_S", 0.2)
    with pytest.raises(TimeLimitError) as raised:
        ffmpeg.run_quiet(["-f", "lavfi", "-i", "testsrc", "-f", "null", "-"], out_of_time)
    assert raised.value.__notes__ == ["ffmpeg stood still for 0.2 s and was given up"]


def test_a_child_is_killed_by_its_context_and_keeps_its_last_messages():
    with ffmpeg.Child([*ffmpeg.QUIET, "-re", "-f", "lavfi", "-i", "testsrc", "-f", "null", "-"]) as child:
        assert child.poll() is None
        with pytest.raises(TimeoutError):
            child.wait(0.05)
    assert child.poll() is not None


def test_a_child_reads_stdin_writes_stdout_and_fails_in_its_own_words():
    args = [*ffmpeg.QUIET, "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "2x2", "-i", "-", "-f", "rawvideo", "-"]
    with ffmpeg.Child(args, stdin=True, stdout=True) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(bytes(range(12)))
        child.stdin.close()
        assert child.stdout.read() == bytes(range(12)) and child.wait() == 0
    with ffmpeg.Child([*ffmpeg.QUIET, "-f", "nonsense", "-i", "-"]) as child:
        assert child.wait() != 0 and "nonsense" in child.last_messages()


def test_a_decoding_child_may_take_so_much_memory_and_no_more():
    args = [*ffmpeg.QUIET, "-f", "lavfi", "-i", "color=s=8192x8192:d=0.2", "-f", "rawvideo", "-"]
    with ffmpeg.Child(args, stdout=True, memory_bytes=64 << 20) as child:
        assert resource.prlimit(child.pid, resource.RLIMIT_DATA) == (64 << 20, 64 << 20)
        assert child.stdout is not None and child.stdout.read() == b""
        child.wait()
        assert "Cannot allocate memory" in child.last_messages()


def test_lines_of_a_call_come_as_they_are_written_and_leaving_ends_it():
    args = ["-hide_banner", "-loglevel", "info", "-re", "-f", "lavfi", "-i", "color", "-vf", "showinfo", "-f", "null"]
    assert any("pts_time:0.04" in line for line in ffmpeg.stderr_lines([*args, "-"]))


def test_another_executable_may_be_named_and_must_exist(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    with pytest.raises(UnavailableError, match="cannot be run"):
        ffmpeg.run_quiet(["-version"])
    with pytest.raises(UnavailableError, match="cannot be run"):
        ffmpeg.Child(["-version"])


def test_file_names_cannot_be_taken_for_options_or_protocols():
    assert ffmpeg.file_url(Path("-i:%d.mp4")) == f"file:{Path.cwd()}/-i:%d.mp4"


def test_closing_a_killed_child_with_unsent_bytes_is_quiet():
    args = [*ffmpeg.QUIET, "-f", "rawvideo", "-s", "2x2", "-i", "-", "-f", "null", "-"]
    with ffmpeg.Child(args, stdin=True) as child:
        assert child.stdin is not None
        child.stdin.write(b"\0" * 100)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL


def test_no_room_for_another_process_is_no_missing_ffmpeg(monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    def not_found() -> str:
        raise RuntimeError("No ffmpeg exe could be found")

    monkeypatch.setattr(ffmpeg.subprocess, "run", refused)
    monkeypatch.setattr(ffmpeg.subprocess, "Popen", refused)
    with pytest.raises(TemporaryError, match="cannot be started now: Too many open files"):
        ffmpeg.Child(["-version"])
    with pytest.raises(TemporaryError, match="Too many open files"):
        ffmpeg.run_quiet(["-version"])
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", not_found)
    with pytest.raises(TemporaryError, match="Too many open files"):
        ffmpeg.ffmpeg_exe()
    monkeypatch.setattr(ffmpeg.subprocess, "run", lambda *_, **__: None)
    with pytest.raises(UnavailableError, match="no ffmpeg found"):
        ffmpeg.ffmpeg_exe()
