"""Renders many jobs on several devices while workers are killed at random, and holds every output to its sha256.

    python tests/soak/devices.py --jobs 40 --devices cpu:3 --kills 8
    python tests/soak/devices.py --jobs 6 --models tiny --devices cpu:3 --kills 3

First one process renders the jobs, which gives the sha256 of each and the time of a plain loop. Then the devices render
them; then with `--kills` workers killed at random moments; then with SIGTERM in the middle, and the same command again
for the rest. Prints a line per part; exits with 1 if an output is wrong, a job was rendered to the end twice, or a
worker waited longer than a second between two jobs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scope_batch.farm.ledger import Attempt, Ledger

MAX_IDLE_S = 1.0
Event = dict[str, Any]


def write_jobs(folder: Path, count: int, frames: Callable[[int], int], **fields: Any) -> list[str]:
    """Write jobs of one NPY output each into `folder`; returns their names."""
    names = []
    for number in range(count):
        name = f"job{number:03d}.yaml"
        job = {"prompt": f"a cat, number {number}", "num_frames": frames(number), "seed": 1000 * number}
        (folder / name).write_text(json.dumps(job | {"output": [f"job{number:03d}.npy"]} | fields))
        names.append(name)
    return names


def digests(folder: Path, names: Sequence[str]) -> dict[str, str | None]:
    """The sha256 of each job's frames, as its output states it after the render has read it back."""
    found = {}
    for name in names:
        beside = folder / f"{Path(name).stem}.npy.json"
        found[name] = json.loads(beside.read_text())["sha256"] if beside.exists() else None
    return found


def remove_outputs(folder: Path) -> None:
    for path in [*folder.glob("*.npy"), *folder.glob("*.npy.json")]:
        path.unlink()


@dataclass
class Render:
    """One call of the program. cpu_s: processor time of all its processes; ledger: the attempts of this call alone."""

    code: int
    seconds: float
    cpu_s: float
    messages: list[str]
    ledger: list[Attempt]
    events: list[Event] = field(repr=False)

    def attempts(self, outcome: str) -> list[Attempt]:
        return [attempt for attempt in self.ledger if attempt.outcome == outcome]

    def on_each_device(self) -> dict[str, list[Attempt]]:
        found: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in self.ledger:
            found[attempt.device].append(attempt)
        return dict(sorted(found.items()))


def render(
    folder: Path,
    names: Sequence[str],
    devices: str,
    *options: str,
    watch: Callable[[Event, int], None] = lambda _event, _pid: None,
) -> Render:
    """Render in `folder`. `watch` is called with every event, and with the pid of the program."""
    led = Ledger(folder / "ledger")
    before = len(_attempts(led))
    command = [sys.executable, "-m", "scope_batch", "render", *names, "--device", devices, *options]
    command += ["--progress", "json", "--ledger", "ledger"]
    events: list[Event] = []
    begun_s, used_s = time.monotonic(), _cpu_s()
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr is not None
        for line in program.stderr:
            event = json.loads(line) if line.startswith("{") else {"event": "note", "message": line.rstrip()}
            events.append(event)
            watch(event, program.pid)
    messages = [str(event["message"]) for event in events if event["event"] in ("error", "note", "warning")]
    return Render(
        program.returncode, time.monotonic() - begun_s, _cpu_s() - used_s, messages, _attempts(led)[before:], events
    )


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _attempts(ledger: Ledger) -> list[Attempt]:
    if not ledger.path.exists():
        return []
    jobs, damaged = ledger.read()
    assert damaged == 0, "a line of the ledger is damaged"
    return sorted((attempt for job in jobs for attempt in job.attempts), key=lambda attempt: attempt.started)


class Killer:
    """Kills a worker at chunks chosen at random: about `kills` in all, if `chunks` are made.

    No job loses three workers, for which it would rightly be given up.
    """

    def __init__(self, rng: random.Random, kills: int, chunks: int) -> None:
        self._rng, self._left, self._share = rng, kills, 1.5 * kills / chunks
        self._workers: dict[str, int] = {}
        self._attempts: dict[str, int] = {}
        self.killed = 0

    def __call__(self, event: Event, _: int) -> None:
        if event["event"] == "assigned":
            self._workers[event["device"]] = int(event["worker"].split()[-1])
            self._attempts[event["job"]] = event["attempt"]
        elif event["event"] == "chunk" and self._left and self._attempts[event["job"]] < 3:
            if self._rng.random() >= self._share:
                return
            with suppress(ProcessLookupError):
                os.kill(self._workers[event["device"]], signal.SIGKILL)
                self.killed += 1
                self._left -= 1


class StopAfter:
    """Sends SIGTERM to the program when so many jobs are done and the next chunk is made."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self.sent = False

    def __call__(self, event: Event, program: int) -> None:
        self._jobs -= event["event"] == "finished"
        if self._jobs <= 0 and event["event"] == "chunk" and not self.sent:
            os.kill(program, signal.SIGTERM)
            self.sent = True


def check(wanted: dict[str, str | None], found: dict[str, str | None], done: Counter[str]) -> list[str]:
    """What is wrong with the outputs: other bytes, none, or rendered to the end more or less than once."""
    wrong = [f"{name}: {found[name]} is not {wanted[name]}" for name in wanted if found[name] != wanted[name]]
    return wrong + [f"{name}: rendered to the end {done[name]} times" for name in wanted if done[name] != 1]


def soak(folder: Path, names: Sequence[str], devices: str, kills: int, chunks: int, seed: int) -> list[str]:
    """Returns what is wrong. Prints the figures."""
    plain = render(folder, names, "cpu")
    assert plain.code == 0, plain.messages
    wanted = digests(folder, names)
    print(f"one process           {plain.seconds:6.1f} s for {len(names)} jobs, {plain.cpu_s:.1f} s of processor time")

    remove_outputs(folder)
    whole = render(folder, names, devices)
    wrong = check(wanted, digests(folder, names), Counter(attempt.job for attempt in whole.attempts("done")))
    more_s = (whole.cpu_s - plain.cpu_s) / len(names)
    print(
        f"{devices:21s} {whole.seconds:6.1f} s, {plain.seconds / whole.seconds:.2f} times the speed, "
        f"{more_s:+.3f} s of processor time for each job, {_idle(whole)}"
    )

    remove_outputs(folder)
    stored = ("--resume", "--checkpoint-every", "2")
    killer = Killer(random.Random(seed), kills, chunks)
    killed = render(folder, names, devices, *stored, watch=killer)
    wrong += check(wanted, digests(folder, names), Counter(attempt.job for attempt in killed.attempts("done")))
    resumed = sum(attempt.resumed_chunk is not None for attempt in killed.attempts("done"))
    print(
        f"with kills            {killed.seconds:6.1f} s, {killer.killed} workers killed, "
        f"{len(killed.attempts('lost'))} attempts lost, {resumed} jobs resumed behind chunk 0, "
        f"exit code {killed.code}, {_idle(killed)}"
    )

    remove_outputs(folder)
    stopped = render(folder, names, devices, *stored, watch=StopAfter(len(names) // 3))
    finished = {name for name, digest in digests(folder, names).items() if digest}
    rest = render(folder, names, devices, *stored)
    done = Counter(attempt.job for attempt in [*stopped.attempts("done"), *rest.attempts("done")])
    wrong += check(wanted, digests(folder, names), done)
    print(
        f"with SIGTERM          {stopped.seconds:6.1f} s to exit code {stopped.code}, {len(finished)} jobs finished; "
        f"then {rest.seconds:.1f} s for {len(rest.attempts('done'))} others, {len(rest.attempts('skipped'))} skipped, "
        f"exit code {rest.code}"
    )
    if (whole.code, killed.code, stopped.code, rest.code) != (0, 0, 143, 0):
        wrong.append(f"exit codes: {whole.code}, {killed.code}, {stopped.code}, {rest.code}")
    idle_s = max(attempt.idle_s for one in (whole, killed, rest) for attempt in one.ledger)
    if idle_s > MAX_IDLE_S:
        wrong.append(f"a worker waited {idle_s:.2f} s between two jobs")
    left = [path.name for path in folder.glob(".*.work")]
    return wrong + [f"left over: {left}"] * bool(left)


def _idle(render: Render) -> str:
    return f"workers idle between jobs {max((attempt.idle_s for attempt in render.ledger), default=0):.3f} s at most"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--devices", default="cpu:3")
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--models", help="tiny: LongLive; without it, the slate")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    fields: dict[str, Any] = {"height": 64, "width": 64}
    fields |= {"models": arguments.models} if arguments.models else {"pipeline_id": "slate"}

    def frames(number: int) -> int:
        return arguments.frames + 12 * (number % 3)

    with tempfile.TemporaryDirectory() as folder:
        names = write_jobs(Path(folder), arguments.jobs, frames, **fields)
        chunks = sum(frames(number) // 12 for number in range(arguments.jobs))
        wrong = soak(Path(folder), names, arguments.devices, arguments.kills, chunks, arguments.seed)
    for line in wrong:
        print(f"WRONG: {line}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
