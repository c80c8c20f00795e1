"""Runs ffmpeg, which imageio-ffmpeg ships, as a child process.

Children get their own session: Ctrl-C in a terminal reaches the whole foreground group, and would kill decoders and
encoders in the middle of a chunk. Their stderr goes to a temporary file, so that a child never blocks on a full pipe
and its last messages can be reported.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from scope_batch.errors import ScopeBatchError, TemporaryError, UnavailableError
from scope_batch.media.patience import POLL_S, CheckStop, Patience, never_stop
from scope_batch.media.source import Closing

QUIET = ("-nostdin", "-hide_banner", "-nostats", "-loglevel", "error")
"""First arguments of every call: no questions, no banner, errors only."""

LOCAL_FILES = ("-protocol_whitelist", "file,pipe")
"""Precedes each `-i`: an input may refer to local files only."""

DECODER_MEMORY_BYTES = 8 << 30
"""Memory limit of a decoding child in bytes; sixteen threads at 8K need about half of it."""
FFMPEG_MEMORY_BYTES = 2 << 30
"""Address space in bytes that suffices for ffmpeg with all its threads; this program itself needs more."""
DECODER_LIMITS = ("-max_alloc", str(1 << 30))
"""First arguments of every decoding call: no single allocation above 1 GiB."""

KILL_WAIT_S = 10.0
ERROR_TAIL_BYTES = 8192
ERROR_LINES = 2

_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
_PREFIX = re.compile(r"^(\[[^]]*\] )+")
"""The prefix of a line that names a part of ffmpeg, "[mov,mp4,m4a @ 0x55d0] "."""
_NO_REASON = ("Error opening input", "Error opening output", "Conversion failed", "Exiting normally", "Last message")
"""Lines that report a failure whose cause is in an earlier line."""
_AFTERMATH = re.compile(
    r"(Error while opening encoder|Error sending frames|Could not open encoder before EOF"
    r"|Task finished|Terminating thread|Nothing was written|Error muxing a packet$|Error closing file)"
)
"""Lines of encoder parts that stop because another part has failed."""


@dataclass(frozen=True, slots=True)
class CompletedText:
    """The result of a finished call: exit status, and both streams as text."""

    returncode: int
    stdout: str
    stderr: str


def ffmpeg_exe() -> Path:
    """Return the executable: `IMAGEIO_FFMPEG_EXE` if set, else the one that imageio-ffmpeg ships.

    imageio-ffmpeg is imported here because its first look-up starts `ffmpeg -version`. Raises UnavailableError if there
    is none, TemporaryError if the system cannot start a process now.
    """
    import imageio_ffmpeg

    try:
        return Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        _refuse_no_process()
        raise UnavailableError("no ffmpeg found: install imageio-ffmpeg, or name one in IMAGEIO_FFMPEG_EXE") from error


def file_url(path: Path) -> str:
    """Return `path` for ffmpeg's arguments: a name that begins with `-` or contains `:` or `%` stays a plain file."""
    return f"file:{path.absolute()}"


def run_quiet(args: Sequence[str], check_stop: CheckStop = never_stop) -> CompletedText:
    """Run ffmpeg with `args`, as a decoder, and return its result; the caller checks the exit status.

    If it stalls for `STALL_S` while `check_stop` raises, it is killed, and that error is raised.
    """
    with _started(args, stdout=subprocess.PIPE) as process:
        patience = Patience("ffmpeg", check_stop, lambda: _cpu_ticks(process.pid))
        try:
            while True:
                try:
                    stdout, stderr = process.communicate(timeout=POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    patience.check()
        except BaseException:
            process.kill()
            raise
    return CompletedText(process.returncode, _text(stdout), _text(stderr))


def stderr_lines(args: Sequence[str]) -> Iterator[str]:
    """Run ffmpeg with `args`, as a decoder, and yield the lines of its stderr; it is killed when the iteration ends.
    Its standard output is discarded."""
    with _started(args, stdout=subprocess.DEVNULL) as process:
        try:
            assert process.stderr is not None
            yield from (_text(line) for line in process.stderr)
        finally:
            process.kill()


def _started(args: Sequence[str], stdout: int) -> subprocess.Popen[bytes]:
    command = [str(ffmpeg_exe()), *args]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, start_new_session=True
        )
    except OSError as error:
        raise _not_started(command[0], error) from error
    limit_memory(process.pid, DECODER_MEMORY_BYTES)
    return process


def limit_memory(pid: int, limit_bytes: int) -> None:
    """Limit the memory of a child process to `limit_bytes`; allocations beyond it fail. Does nothing on systems that
    cannot limit a running process (only Linux can)."""
    if hasattr(resource, "prlimit"):
        with contextlib.suppress(OSError):  # it has already exited, or the system does not permit it
            resource.prlimit(pid, resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def refuse_little_memory(name: str, messages: str) -> None:
    """Raises TemporaryError if the memory limit of this process is too low for ffmpeg.

    Called after a failure of ffmpeg, before the job is blamed. `name`: the input or output; `messages`: of ffmpeg,
    which are not reliable, since it reports a failed allocation as an invalid argument.
    """
    limit_bytes, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit_bytes != resource.RLIM_INFINITY and limit_bytes < FFMPEG_MEMORY_BYTES:
        limit = f"this process is limited to {limit_bytes >> 20} MiB of memory (ulimit -v)"
        raise TemporaryError(f"{name}: ffmpeg failed, and {limit}: {messages}")


def _not_started(command: str, error: OSError) -> ScopeBatchError:
    if error.errno in _NO_RESOURCES:
        return TemporaryError(f"ffmpeg cannot be started now: {error.strerror}")
    return UnavailableError(f"{command}: cannot be run: {error.strerror}")


def _refuse_no_process() -> None:
    """Raises TemporaryError if no process can be started, which imageio-ffmpeg reports as a missing ffmpeg."""
    try:
        subprocess.run([sys.executable, "--version"], capture_output=True, check=False)
    except OSError as error:
        if error.errno in _NO_RESOURCES:
            raise _not_started("", error) from error


def last_messages(stderr: IO[bytes]) -> str:
    """Return the last lines in a child's stderr file, joined to one line; "" if there are none."""
    size = stderr.seek(0, 2)
    stderr.seek(max(0, size - ERROR_TAIL_BYTES))
    return last_lines(_text(stderr.read()))


def last_lines(text: str) -> str:
    """Return the last lines of ffmpeg's stderr joined by "; ", without their prefixes."""
    lines = [_PREFIX.sub("", line).strip() for line in text.splitlines() if line.strip()]
    reasons = [line for line in lines if not (line.startswith(_NO_REASON) or _AFTERMATH.match(line))]
    return "; ".join((reasons or lines)[-ERROR_LINES:])


class Child(Closing):
    """A running ffmpeg process, which is killed when the context is left.

    stdin, stdout: buffered binary pipes if requested, else None. `output_fd`: a descriptor for its stdout instead of a
    pipe. `memory_bytes`: its memory limit. `pass_fds`: descriptors that it inherits with the same numbers.
    """

    def __init__(
        self,
        args: Sequence[str],
        *,
        stdin: bool = False,
        stdout: bool = False,
        output_fd: int | None = None,
        memory_bytes: int | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        command = [str(ffmpeg_exe()), *args]
        output = subprocess.DEVNULL if output_fd is None else output_fd
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE if stdout else output,
                stderr=self._stderr,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        except OSError as error:
            self._stderr.close()
            raise _not_started(command[0], error) from error
        self.pid = self._process.pid
        if memory_bytes is not None:
            limit_memory(self.pid, memory_bytes)
        self._reported_bytes = 0
        self.stdin = self._process.stdin
        self.stdout = self._process.stdout

    def poll(self) -> int | None:
        """Return the exit status, None while it runs; negative: killed by that signal."""
        return self._process.poll()

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the end and return the exit status. Raises TimeoutError after `timeout_s`."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"ffmpeg still runs after {timeout_s} s") from error

    def new_lines(self) -> str:
        """Return the complete lines written to its stderr since the last call; only before `close`."""
        written = os.fstat(self._stderr.fileno()).st_size
        data = os.pread(self._stderr.fileno(), written - self._reported_bytes, self._reported_bytes)
        whole_lines = data[: data.rfind(b"\n") + 1]
        self._reported_bytes += len(whole_lines)
        return _text(whole_lines)

    def cpu_ticks(self) -> int | None:
        """Return its CPU time in ticks of the system's clock; None if unknown."""
        return _cpu_ticks(self.pid)

    def last_messages(self) -> str:
        """Return the last lines of its stderr; only before `close`."""
        return last_messages(self._stderr)

    def kill(self) -> None:
        """Kill it from any thread, which unblocks threads that wait for its pipes. `close` must still be called."""
        self._process.kill()

    def close(self) -> None:
        """Kill it if it still runs, reap it, close the pipes. May be called twice."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(KILL_WAIT_S)
        for pipe in (self.stdin, self.stdout, self._stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # the process has exited without reading all bytes
                    pipe.close()


def _cpu_ticks(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # from the third field on
    return int(fields[11]) + int(fields[12])


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")
