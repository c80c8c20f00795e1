"""Renders many jobs on a Ray cluster of this machine while workers are killed at random, and holds every output to its
sha256.

    python tests/soak/ray_jobs.py --jobs 200 --workers 8 --kills 20 --rounds 3
    python tests/soak/ray_jobs.py --jobs 6 --workers 2 --kills 2 --models tiny

First one process renders the jobs, which gives the sha256 of each. Then a cluster renders them, once in every round,
with `--kills` worker processes and actors, in turn, killed at random chunks. Prints a line per round; exits with 1 if
an output is wrong, a job was rendered to the end twice, or a worker waited longer than a second between two jobs.
"""

from __future__ import annotations

import argparse
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.soak.devices import MAX_IDLE_S, Event, digests, remove_outputs, render, write_jobs


@contextmanager
def cluster(folder: Path, cpus: int, **variables: str) -> Iterator[str]:
    """Start a cluster of one node, of so many CPUs by name. Yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--num-cpus={cpus}"]
    command += [f"--port={port}", "--object-store-memory=100000000", "--include-dashboard=false"]
    command += ["--disable-usage-stats", f"--temp-dir={folder}"]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", **variables}
    with (folder / "ray.log").open("wb") as log:
        head = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        until_s = time.monotonic() + 240
        while "Ray runtime started" not in (folder / "ray.log").read_text():
            assert head.poll() is None and time.monotonic() < until_s, (folder / "ray.log").read_text()
            time.sleep(0.5)
        yield f"{_own_address(folder)}:{port}"
    finally:
        processes = [psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        head.wait()


def _own_address(folder: Path) -> str:
    text = (folder / "ray.log").read_text()
    return text.split("Local node IP: ")[1].split()[0]


class Killer:
    """Kills a worker at chunks chosen at random: its process and its actor in turn."""

    def __init__(self, rng: random.Random, kills: int, chunks: int) -> None:
        self._rng, self._left, self._share = rng, kills, 1.5 * kills / chunks
        self._workers: dict[str, int] = {}
        self.processes = self.actors = 0

    def __call__(self, event: Event, _: int) -> None:
        if event["event"] == "assigned":
            self._workers[event["device"]] = int(event["worker"].split()[1])  # "process 4711 on host"
        elif event["event"] == "chunk" and self._left and self._rng.random() < self._share:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(self._workers[event["device"]])
                if self._left % 2:
                    process.kill()
                    self.processes += 1
                else:
                    actor = process.parent()
                    assert actor is not None
                    actor.kill()
                    self.actors += 1
                self._left -= 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--frames", type=int, default=105)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--models", help="tiny: LongLive; without it, the slate")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    fields: dict[str, Any] = {"height": 64, "width": 64}
    fields |= {"models": asked.models} if asked.models else {"pipeline_id": "slate"}
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as jobs_folder, tempfile.TemporaryDirectory(prefix="ray-") as ray_folder:
        folder = Path(jobs_folder)
        names = write_jobs(folder, asked.jobs, lambda number: asked.frames + 12 * (number % 3), **fields)
        plain = render(folder, names, "cpu")
        wanted = digests(folder, names)
        remove_outputs(folder)
        assert plain.code == 0 and None not in wanted.values(), plain.messages
        print(f"one process: {plain.seconds:.1f} s for {len(names)} jobs", flush=True)
        with cluster(Path(ray_folder), asked.workers) as address:
            for number in range(asked.rounds):
                chunks = asked.jobs * (asked.frames // 12 + 1)
                killer = Killer(random.Random(asked.seed + number), asked.kills, chunks)
                options = ("--resume", "--ray", address, "--ray-workers", str(asked.workers))
                ran = render(folder, names, "auto", *options, watch=killer)
                found = digests(folder, names)
                remove_outputs(folder)
                done = Counter(attempt.job for attempt in ran.attempts("done"))
                right = sum(found[name] == wanted[name] for name in names)
                idle_s = max(attempt.idle_s for attempt in ran.ledger)
                lost = len(ran.attempts("lost"))
                resumed = sum(bool(attempt.resumed_chunk) for attempt in ran.attempts("done"))
                workers = len(ran.on_each_device())
                print(
                    f"round {number + 1}: {ran.seconds:.1f} s on {workers} workers; killed "
                    f"{killer.processes} processes and {killer.actors} actors; {lost} attempts lost, {resumed} jobs "
                    f"resumed behind chunk 0; {right} of {len(names)} right, most often rendered to the end: "
                    f"{max(done.values(), default=0)}; idle between jobs {idle_s:.3f} s at most; exit code {ran.code}",
                    flush=True,
                )
                left = [path.name for path in folder.glob(".*.work")]
                if ran.code or right != len(names) or max(done.values()) > 1 or idle_s > MAX_IDLE_S or left:
                    wrong.append("\n".join([f"round {number + 1}: left {left}", *ran.messages]))
    for line in wrong:
        print(f"WRONG: {line}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
