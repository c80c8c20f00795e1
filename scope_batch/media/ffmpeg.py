"""The ffmpeg that imageio-ffmpeg ships, as our own child process.

Children get a session of their own: Ctrl-C in a terminal reaches the whole foreground group, and a decoder or encoder
that dies of it would take the rest of the chunk along. Their stderr goes to a temporary file, so that a chatty child
can never block on a full pipe and a failure can still be told in its own words.
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
"""Arguments every call begins with: no questions, no banner, errors only."""

LOCAL_FILES = ("-protocol_whitelist", "file,pipe")
"""Goes before each `-i`: nothing that an input names may be fetched from anywhere else."""

DECODER_MEMORY_BYTES = 8 << 30
"""Memory that a decoding child may take: sixteen threads at 8K need about half of it."""
FFMPEG_MEMORY_BYTES = 2 << 30
"""Address space in which ffmpeg with all its threads does what the tests ask of it; the program itself needs more."""
DECODER_LIMITS = ("-max_alloc", str(1 << 30))
"""Arguments every decoding call begins with: no single piece of memory is larger than 1 GiB."""

KILL_WAIT_S = 10.0
ERROR_TAIL_BYTES = 8192
ERROR_LINES = 2

_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
_SPEAKER = re.compile(r"^(\[[^]]*\] )+")
"""The parts of ffmpeg that wrote a line, "[mov,mp4,m4a @ 0x55d0] "."""
_NO_REASON = ("Error opening input", "Error opening output", "Conversion failed", "Exiting normally", "Last message")
"""Lines that report a failure whose reason is in an earlier line."""
_AFTERMATH = re.compile(
    r"(Error while opening encoder|Error sending frames|Could not open encoder before EOF"
    r"|Task finished|Terminating thread|Nothing was written|Error muxing a packet$|Error closing file)"
)
"""The same from the parts of an encoding ffmpeg that stop because another part has stopped."""


@dataclass(frozen=True, slots=True)
class CompletedText:
    """A call that has ended: exit status and both streams as text."""

    returncode: int
    stdout: str
    stderr: str


def ffmpeg_exe() -> Path:
    """The executable: `IMAGEIO_FFMPEG_EXE` if set, else the one imageio-ffmpeg ships.

    Imported late: the first look-up starts `ffmpeg -version`. Raises UnavailableError if there is none, TemporaryError
    if the system starts no process now.
    """
    import imageio_ffmpeg

    try:
        return Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        _refuse_no_process()
        raise UnavailableError("no ffmpeg found: install imageio-ffmpeg, or name one in IMAGEIO_FFMPEG_EXE") from error


def file_url(path: Path) -> str:
    """`path` as ffmpeg must be given it: a name that begins with `-` or holds `:` or `%` stays a plain file."""
    return f"file:{path.absolute()}"


def run_quiet(args: Sequence[str], check_stop: CheckStop = never_stop) -> CompletedText:
    """Run ffmpeg to its end with `args`, as a decoder. The exit status is the caller's to judge.

    When it stands still some time after `check_stop` has begun to raise, it is killed, and that is raised.
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
    """Run ffmpeg with `args`, as a decoder, and yield the lines of its stderr as they come; it ends with the iteration.
    What it writes to standard output is thrown away."""
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
    """Let a child of ours take no more than `limit_bytes`; its next allocation fails. Does nothing where the system
    cannot limit a running process (only Linux can)."""
    if hasattr(resource, "prlimit"):
        with contextlib.suppress(OSError):  # it has ended already, or the system does not allow it
            resource.prlimit(pid, resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def refuse_little_memory(name: str, words: str) -> None:
    """Raises TemporaryError if this process may take so little memory that ffmpeg fails whatever it is given.

    Called where a failed ffmpeg would be blamed on the job: `name` is the input or output, `words` ffmpeg's own. Its
    words alone do not tell, since its parts report a failed allocation as an invalid argument.
    """
    limit_bytes, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit_bytes != resource.RLIM_INFINITY and limit_bytes < FFMPEG_MEMORY_BYTES:
        limit = f"this process may take {limit_bytes >> 20} MiB of memory (ulimit -v)"
        raise TemporaryError(f"{name}: ffmpeg failed, and {limit}: {words}")


def _not_started(command: str, error: OSError) -> ScopeBatchError:
    if error.errno in _NO_RESOURCES:
        return TemporaryError(f"ffmpeg cannot be started now: {error.strerror}")
    return UnavailableError(f"{command}: cannot be run: {error.strerror}")


def _refuse_no_process() -> None:
    """Raises TemporaryError if no program can be started at all, which imageio-ffmpeg takes for a missing ffmpeg."""
    try:
        subprocess.run([sys.executable, "--version"], capture_output=True, check=False)
    except OSError as error:
        if error.errno in _NO_RESOURCES:
            raise _not_started("", error) from error


def last_messages(stderr: IO[bytes]) -> str:
    """The last lines a child wrote to its stderr file, on one line; "" if there are none."""
    size = stderr.seek(0, 2)
    stderr.seek(max(0, size - ERROR_TAIL_BYTES))
    return last_lines(_text(stderr.read()))


def last_lines(text: str) -> str:
    """The last lines of ffmpeg's stderr joined by "; ", without the parts of the program that wrote them."""
    lines = [_SPEAKER.sub("", line).strip() for line in text.splitlines() if line.strip()]
    reasons = [line for line in lines if not (line.startswith(_NO_REASON) or _AFTERMATH.match(line))]
    return "; ".join((reasons or lines)[-ERROR_LINES:])


class Child(Closing):
    """A running ffmpeg. Leaving the context ends it, whatever happened inside.

    stdin / stdout: buffered binary pipes where asked for, else None: a write takes all it is given, a read gets all it
    asked for or the end. `output_fd`: a descriptor of ours that its stdout goes to instead. `memory_bytes`: the most
    memory that it may take. `pass_fds`: descriptors that it inherits under their numbers.
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
        quiet_or_given = subprocess.DEVNULL if output_fd is None else output_fd
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE if stdout else quiet_or_given,
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
        self._told_bytes = 0
        self.stdin = self._process.stdin
        self.stdout = self._process.stdout

    def poll(self) -> int | None:
        """Exit status, or None while it runs; negative = killed by that signal."""
        return self._process.poll()

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the end and return the exit status. Raises TimeoutError after `timeout_s`."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"ffmpeg still runs after {timeout_s} s") from error

    def news(self) -> str:
        """The lines it has written to its stderr since the last call; only before `close`."""
        written = os.fstat(self._stderr.fileno()).st_size
        data = os.pread(self._stderr.fileno(), written - self._told_bytes, self._told_bytes)
        whole_lines = data[: data.rfind(b"\n") + 1]
        self._told_bytes += len(whole_lines)
        return _text(whole_lines)

    def cpu_ticks(self) -> int | None:
        """Processor time it has used, in ticks of the system's clock; None where that is unknown."""
        return _cpu_ticks(self.pid)

    def last_messages(self) -> str:
        """The last lines of its stderr; only before `close`."""
        return last_messages(self._stderr)

    def kill(self) -> None:
        """End it at once, from any thread; whoever is blocked on its pipes gets on. `close` is still due."""
        self._process.kill()

    def close(self) -> None:
        """Kill it if it still runs, reap it, close the pipes. May be called again."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(KILL_WAIT_S)
        for pipe in (self.stdin, self.stdout, self._stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # bytes that nobody will read any more
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
