"""Runs `scope-batch serve` in a process of its own, as clients of the network meet it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

PATIENCE_S = 120
"""No wait in these tests is that long; a hang fails."""
START = "from scope_batch.__main__ import main; import sys; sys.exit(main(sys.argv[1:]))"


@dataclass
class Running:
    process: subprocess.Popen[str]
    http: httpx.Client
    folder: Path

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    @property
    def workers(self) -> list[psutil.Process]:
        """The worker processes, oldest first; not the process of multiprocessing that tracks shared resources.

        With one device the first is the one that renders, and the second its spare.
        """
        found = []
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # it has just ended
                if "spawn_main" in " ".join(child.cmdline()):
                    found.append(child)
        return sorted(found, key=lambda child: child.create_time())


def command(folder: Path, *options: str, prelude: str = "") -> list[str]:
    """Return the command line of a server whose folders are below `folder`; it takes any free port by default.

    prelude  Python that runs before the program.
    """
    for name in ("assets", "lora"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    port = [] if "--port" in options else ["--port", "0"]
    roots = ["--assets-root", str(folder / "assets"), "--lora-root", str(folder / "lora")]
    state = ["--state-dir", str(folder / "state")]
    return [sys.executable, "-c", prelude + START, "serve", *port, *state, *roots, *options]


@contextmanager
def running(folder: Path, *options: str, prelude: str = "") -> Iterator[Running]:
    process = subprocess.Popen(command(folder, *options, prelude=prelude), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert line.startswith("serving on "), line + process.stderr.read()
        url = line.split()[-1]
        with httpx.Client(base_url=url, timeout=PATIENCE_S) as http:
            yield Running(process, http, folder)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(PATIENCE_S)
        process.stderr.close()
