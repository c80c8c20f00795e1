"""Uploads what is huge, slow, stalled, cut off, too long or false, and checks that no file and no memory is left.

    python -m tests.soak.serve_uploads --mib 2048 --rounds 20

--mib     size of the upload whose memory is watched, and which may not be one byte longer.
--rounds  so many times every fault is tried.

Prints a line per part; ends with a failed assertion at the first fault.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil

from tests.serve.server_process import Running, running

MIB = 1 << 20
MOST_GROWTH_BYTES = 64 * MIB
STALLED_S = 0.5
"""The server waits so long for the next bytes."""
LIMITS = """
from dataclasses import fields
from scope_batch.serve.uploads import UploadLimits
UploadLimits.__init__.__defaults__ = tuple({changed}.get(field.name, field.default) for field in fields(UploadLimits))
"""
FILE_LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)); "
"""Makes writes behind the first MiB of a file fail, as a full disk does."""
DATA, VIDEO = "/api/v1/batch/upload-data", "/api/v1/batch/upload"
SHAPE = {"X-Video-Frames": "4", "X-Video-Height": "64", "X-Video-Width": "64"}
VIDEO_BYTES = 4 * 64 * 64 * 3


def limits(data_bytes: int = 1000, timeout_s: float = STALLED_S) -> str:
    """Return a prelude of a server that has these limits."""
    return LIMITS.format(changed={"data_bytes": data_bytes, "read_timeout_s": timeout_s})


class Upload:
    """One request over a connection of its own; what is sent may be anything."""

    def __init__(self, server: Running, path: str, headers: dict[str, str]) -> None:
        self._connection = socket.create_connection((server.http.base_url.host, server.http.base_url.port or 0))
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/octet-stream"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def send(self, data: bytes | memoryview) -> None:
        self._connection.sendall(data)

    def status(self) -> int:
        """Read the status of the answer; 0 if the server has hung up without one."""
        self._connection.settimeout(120)
        head = b""
        while len(head) < 12 and (data := self._connection.recv(4096)):
            head += data
        return int(head[9:12] or 0)

    def reset(self) -> None:
        """Hang up so that the server gets an error."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()

    def close(self) -> None:
        self._connection.close()


def slow(server: Running) -> None:
    """Bytes that come one by one, each in time, make a whole upload."""
    with closing(Upload(server, DATA, {"Content-Length": "4"})) as upload:
        for _ in range(4):
            time.sleep(STALLED_S / 4)
            upload.send(b"x")
        assert upload.status() == 200
    for path in uploads(server):
        path.unlink()


def stalled(server: Running) -> None:
    with closing(Upload(server, DATA, {"Content-Length": "100"})) as upload:
        upload.send(b"x" * 50)
        assert upload.status() == 408


def slow_then_stalled(server: Running) -> None:
    with closing(Upload(server, VIDEO, {**SHAPE, "Content-Length": str(VIDEO_BYTES)})) as upload:
        upload.send(b"x" * 5000)
        time.sleep(STALLED_S / 2)
        upload.send(b"x")
        assert upload.status() == 408


def closed(server: Running) -> None:
    with closing(Upload(server, DATA, {"Content-Length": "100"})) as upload:
        upload.send(b"x" * 50)


def reset(server: Running) -> None:
    upload = Upload(server, VIDEO, {**SHAPE, "Content-Length": str(VIDEO_BYTES)})
    upload.send(b"x" * 5000)
    upload.reset()


def taken_again(server: Running) -> None:
    """Another upload is taken at once, while one hangs and one was cut off."""
    hanging = Upload(server, DATA, {"Content-Length": "100"})
    reset(server)
    with closing(Upload(server, DATA, {"Content-Length": "3"})) as upload:
        upload.send(b"abc")
        assert upload.status() == 200
    hanging.close()
    for path in Path(server.folder, "state", "uploads").glob("*.bin"):
        path.unlink()


def too_long(server: Running) -> None:
    with closing(Upload(server, DATA, {"Content-Length": "1001"})) as upload:
        assert upload.status() == 413
    with closing(Upload(server, VIDEO, {**SHAPE, "Content-Length": str(VIDEO_BYTES + 1)})) as upload:
        assert upload.status() == 400


def stopped(server: Running) -> None:
    """The server ends an upload of unknown length when it is too long, though the client goes on."""
    with closing(Upload(server, DATA, {"Transfer-Encoding": "chunked"})) as upload:
        upload.send(b"1F4\r\n" + b"x" * 500 + b"\r\n" + b"1F5\r\n" + b"x" * 501 + b"\r\n")
        assert upload.status() == 413


def false_checksum(server: Running) -> None:
    digest = hashlib.sha256(b"abd").hexdigest()
    with closing(Upload(server, DATA, {"Content-Length": "3", "X-SHA256": digest})) as upload:
        upload.send(b"abc")
        assert upload.status() == 422


FAULTS: dict[str, Callable[[Running], None]] = {
    "slow": slow,
    "stalled": stalled,
    "slow, then stalled": slow_then_stalled,
    "closed": closed,
    "reset": reset,
    "taken again": taken_again,
    "too long": too_long,
    "stopped": stopped,
    "false checksum": false_checksum,
}


def uploads(server: Running) -> list[Path]:
    return [*(server.folder / "state" / "uploads").iterdir()]


def try_faults(server: Running, rounds: int) -> str:
    process = psutil.Process(server.process.pid)
    server.http.get("/health")
    descriptors = process.num_fds()
    for _ in range(rounds):
        for name, fault in FAULTS.items():
            fault(server)
            wait_until(lambda: not uploads(server), f"{name}: files are left")
    server.http.get("/health")
    wait_until(lambda: process.num_fds() <= descriptors, "descriptors are left open")
    return f"{rounds} times {len(FAULTS)} faults: {', '.join(FAULTS)}: no file and no descriptor was left"


def wait_until(done: Callable[[], bool], complaint: str) -> None:
    deadline_s = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline_s, complaint
        time.sleep(0.01)


def fill_disk(server: Running) -> str:
    """The server was started with FILE_LIMIT."""
    with closing(Upload(server, DATA, {"Content-Length": str(3 * MIB)})) as upload:
        upload.send(bytes(3 * MIB))
        assert upload.status() == 507
    assert uploads(server) == []
    with closing(Upload(server, DATA, {"Content-Length": "3"})) as upload:
        upload.send(b"abc")
        assert upload.status() == 200
    return "a full disk: 507, no file was left, and the next upload was taken"


def shut_down(server: Running) -> str:
    """SIGTERM while an upload hangs; the server was started with a long time limit for reading."""
    with closing(Upload(server, DATA, {"Content-Length": "100"})) as upload:
        upload.send(b"x" * 50)
        wait_until(lambda: uploads(server) != [], "the upload does not begin")
        began_s = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(120) == 0
    assert uploads(server) == []
    return f"SIGTERM in an upload: exit after {time.monotonic() - began_s:.1f} s, no file was left"


def upload_huge(server: Running, size: int) -> str:
    """Upload `size` bytes, which the server allows, and one byte more, with and without its length declared."""
    (handle, growth_bytes, took_s) = _watched_upload(server, size, {"Content-Length": str(size)})
    assert handle == 200
    assert growth_bytes < MOST_GROWTH_BYTES, f"the server grew by {growth_bytes / MIB:.1f} MiB"
    (path,) = uploads(server)
    assert path.stat().st_size == size
    path.unlink()
    with closing(Upload(server, DATA, {"Content-Length": str(size + 1)})) as upload:
        assert upload.status() == 413
    status, chunked_growth_bytes, _ = _watched_upload(server, size + 1, {"Transfer-Encoding": "chunked"})
    assert status == 413
    assert chunked_growth_bytes < MOST_GROWTH_BYTES
    assert uploads(server) == []
    return (
        f"{size / MIB:.0f} MiB in {took_s:.1f} s: the server grew by {growth_bytes / MIB:.1f} MiB, chunked by "
        f"{chunked_growth_bytes / MIB:.1f} MiB; one byte more: 413 both ways, and no file was left"
    )


def _watched_upload(server: Running, size: int, headers: dict[str, str]) -> tuple[int, int, float]:
    """Returns the status, the growth of the server's memory in bytes and the seconds."""
    block, chunked = memoryview(bytes(MIB)), "Transfer-Encoding" in headers
    with _peak_of(server.process.pid) as peak, closing(Upload(server, DATA, headers)) as upload:
        began_s = time.monotonic()
        for start in range(0, size, MIB):
            part = block[: min(MIB, size - start)]
            if chunked:
                upload.send(b"%x\r\n" % len(part))
            upload.send(part)
            if chunked:
                upload.send(b"\r\n")
        if chunked and size % MIB == 0:
            upload.send(b"0\r\n\r\n")
        status = upload.status()
        return status, peak[1] - peak[0], time.monotonic() - began_s


@contextmanager
def _peak_of(pid: int) -> Iterator[list[int]]:
    """Yield the resident memory of a process before the with-body, and the most it had since then."""
    process, ended = psutil.Process(pid), threading.Event()
    memory = [process.memory_info().rss] * 2

    def look() -> None:
        while not ended.wait(0.005):
            memory[1] = max(memory[1], process.memory_info().rss)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield memory
    finally:
        ended.set()
        looking.join()


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-uploads-") as place:
        folder = Path(place)
        os.environ.setdefault("SCOPE_BATCH_CACHE", f"{folder}/cache")
        if options.mib:
            with running(folder / "huge", prelude=limits(options.mib * MIB, 60)) as server:
                print(upload_huge(server, options.mib * MIB), flush=True)
        if options.rounds:
            with running(folder / "faults", prelude=limits()) as server:
                print(try_faults(server, options.rounds), flush=True)
            with running(folder / "full", prelude=limits(8 * MIB) + FILE_LIMIT) as server:
                print(fill_disk(server), flush=True)
            with running(folder / "end", prelude=limits(timeout_s=60)) as server:
                print(shut_down(server), flush=True)


if __name__ == "__main__":
    run()
    sys.exit(0)
