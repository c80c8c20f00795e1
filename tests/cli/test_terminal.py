"""Runs the program on a pseudo-terminal, as a person sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

FAKE = Path(__file__).with_name("fake_render.py")
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class Terminal:
    """Runs `render` with the given arguments; `text` is all that it wrote so far."""

    def __init__(self, *arguments: str, columns: int = 90, **environment: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, columns, 0, 0))
        env = {**os.environ, "TERM": "xterm-256color", **environment}
        command = [sys.executable, str(FAKE), "render", *arguments]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs, env=env)
        os.close(theirs)
        self.text = ""

    def read_until(self, wanted: str) -> None:
        until = time.monotonic() + 60
        while wanted not in self.text and time.monotonic() < until and self._read():
            pass
        assert wanted in self.text

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._ours)
        return self.process.wait(60)

    def _read(self) -> bool:
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # raised by Linux when the other side has closed
            return False
        self.text += data.decode()
        return bool(data)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def cursor_is_back(text: str) -> bool:
    return HIDE in text and text.rindex(SHOW) > text.rindex(HIDE)


def test_the_bar_shows_where_the_render_is_and_leaves_no_trace(job: Callable[..., str]) -> None:
    terminal = Terminal(job("slow"))
    terminal.read_until("chunk 2 of 3")
    assert terminal.end() == 0 and cursor_is_back(terminal.text)
    for words in ("output job.mp4", "12/36 frames", "fps", "ETA", 'denoising 1 of 4 · "slow"'):
        assert words in terminal.text
    assert terminal.text.count("warning: repeated in every chunk") == 1
    assert "done: 36 frames" in terminal.text[terminal.text.rindex("denoising") :]


def test_an_error_is_printed_after_the_cursor_is_restored(job: Callable[..., str]) -> None:
    terminal = Terminal(job("busy"))
    assert terminal.end() == 75 and cursor_is_back(terminal.text)
    assert terminal.text.rindex(SHOW) < terminal.text.index("error: the encoder was killed")


def test_one_signal_finishes_the_chunk_with_a_note(job: Callable[..., str]) -> None:
    terminal = Terminal(job("slow", frames=1200))
    terminal.read_until("chunk 3 of 100")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130 and cursor_is_back(terminal.text)
    assert re.search(r"finishing chunk \d+ \(about 0\.\d s\); press again to stop now", terminal.text)
    assert "kept out.partial.mp4" in terminal.text


def test_two_signals_end_it_at_once(job: Callable[..., str]) -> None:
    terminal = Terminal(job("stuck"))
    terminal.read_until("denoising")
    terminal.process.send_signal(signal.SIGTERM)
    terminal.read_until("press again to stop now")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.end() == 143 and cursor_is_back(terminal.text)


def test_no_color_is_respected(job: Callable[..., str]) -> None:
    terminal = Terminal(job("slow"), NO_COLOR="1")
    assert terminal.end() == 0 and HIDE in terminal.text
    assert not re.search(r"\x1b\[[\d;]*3\d[;m]", terminal.text)


def test_a_dumb_terminal_gets_lines(job: Callable[..., str]) -> None:
    terminal = Terminal(job(), TERM="dumb")
    assert terminal.end() == 0
    assert "\x1b" not in terminal.text and "chunk 1 of 3: 12/36 frames" in terminal.text


@pytest.mark.parametrize("columns", [1, 12, 39])
def test_a_narrow_terminal_works(job: Callable[..., str], columns: int) -> None:
    terminal = Terminal(job("slow"), columns=columns)
    assert terminal.end() == 0 and cursor_is_back(terminal.text)
