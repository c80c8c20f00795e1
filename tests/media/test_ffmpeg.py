import os
import resource
import signal
from pathlib import Path

import pytest

from scope_batch.errors import UnavailableError
from scope_batch.media import ffmpeg


def test_a_call_returns_status_and_text():
    done = ffmpeg.run_quiet(["-version"])
    assert done.returncode == 0 and done.stdout.startswith("ffmpeg version")


def test_a_failing_call_tells_why_on_one_line_without_addresses():
    done = ffmpeg.run_quiet([*ffmpeg.QUIET, "-i", "file:/nowhere.mp4", "-f", "null", "-"])
    words = ffmpeg.last_lines(done.stderr)
    assert done.returncode != 0
    assert "No such file" in words and "\n" not in words and "0x" not in words


def test_a_child_is_ended_by_its_context_and_keeps_its_last_words():
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
        assert child.wait() != 0 and "nonsense" in child.last_words()


def test_a_decoding_child_may_take_so_much_memory_and_no_more():
    args = [*ffmpeg.QUIET, "-f", "lavfi", "-i", "color=s=8192x8192:d=0.2", "-f", "rawvideo", "-"]
    with ffmpeg.Child(args, stdout=True, memory_bytes=64 << 20) as child:
        assert resource.prlimit(child.pid, resource.RLIMIT_DATA) == (64 << 20, 64 << 20)
        assert child.wait() != 0


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
