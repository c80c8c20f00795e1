"""Kills renders at random moments, runs the same command again, and compares every byte that is left.

    python tests/soak/publish.py --runs 200 --orphans 20 --steps 1

`--runs`     renders killed with SIGKILL at a random moment, over all kinds of output, fresh or over older ones.
`--orphans`  renders killed while their encoder is stopped; the next render starts at once, then the encoder goes on.
`--steps`    a render that dies before each single change that it makes to the disk, or each N-th of them.

Renders are forked from this process, which has everything imported. Prints one line per part; exits with 1 after the
first wrong byte, leftover or exit code.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import scope_batch.render.loop  # noqa: F401  so that a fork need not
from scope_batch.__main__ import main
from scope_batch.sinks import work_folder

JOB = "pipeline_id: slate\nprompt: {prompt}\nnum_frames: {frames}\nheight: 64\nwidth: 64\n"
FRAMES = 45
OUTPUTS: Mapping[str, Sequence[str]] = {
    "mp4": ["a.mp4"],
    "mkv": ["a.mkv"],
    "npy": ["a.npy"],
    "png": ["f/%05d.png"],
    "arrays": ["n/b.npy", "f/%d.png"],
    "several": ["a.mp4", "n/b.npy", "f/%05d.png", "c.nut"],
}
OLD, NEW = "old", "new"
Tree = dict[str, bytes]


def fork(folder: Path, arguments: Sequence[str], before: Callable[[], None] = lambda: None) -> int:
    """Start a render in `folder`; returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.chdir(folder)
        log = os.open(folder.parent / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(log, 2)
        before()
        code = main(["render", *arguments])
    except BaseException as error:  # noqa: BLE001  a fork must never return
        print(repr(error), file=sys.stderr)
        code = 70
    os._exit(code)


def wait(pid: int) -> int:
    """Its exit status; negative: the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def render(folder: Path, arguments: Sequence[str]) -> int:
    return wait(fork(folder, arguments))


def tree(folder: Path) -> Tree:
    """Every file below the folder, and every empty folder with no bytes."""
    paths = [path for path in folder.rglob("*") if path.is_file() or not any(path.iterdir())]
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in paths}


def published(found: Tree) -> Tree:
    """The files under their final names."""
    return {name: data for name, data in found.items() if ".work" not in name and data}


def expect(condition: bool, what: str, folder: Path) -> None:
    if not condition:
        names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
        print(f"WRONG: {what}\n{folder}: {names}\n{(folder.parent / 'log').read_text()}")
        sys.exit(1)


class Case:
    """The renders of one kind of output: what they make when nobody kills them, and how long that takes."""

    def __init__(self, kind: str, jobs: Mapping[str, Path]) -> None:
        self.outputs = [argument for output in OUTPUTS[kind] for argument in ("-o", output)]
        self.jobs = jobs
        self.made: dict[str, Tree] = {}
        self.seconds = 0.0
        for name in (OLD, NEW):
            with new_folder() as folder:
                began_s = time.monotonic()
                expect(render(folder, self.command(name)) == 0, "a plain render fails", folder)
                self.seconds = time.monotonic() - began_s
                self.made[name] = tree(folder)

    def command(self, name: str, *flags: str) -> list[str]:
        return [str(self.jobs[name]), *self.outputs, *flags]

    def lay_old(self, folder: Path) -> None:
        """Everything that the older render made."""
        for name, data in self.made[OLD].items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)

    def check_killed(self, folder: Path, over_old: bool) -> None:
        """What stands under the final names is one render's, unless a journal says how it goes on."""
        found = tree(folder)
        if not any(name.endswith("/committed.journal") for name in found):
            allowed = [self.made[OLD] if over_old else {}, self.made[NEW]]
            expect(published(found) in allowed, "files of two renders, or not all of one", folder)

    def check_again(self, folder: Path, flags: Sequence[str]) -> None:
        """The same command again ends well, with the right bytes and nothing else."""
        code = render(folder, self.command(NEW, *flags))
        expect(code == 0, f"the next render exits with {code}", folder)
        expect(tree(folder) == self.made[NEW], "the next render leaves something else", folder)


@contextmanager
def new_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="soak-") as parent:
        folder = Path(parent, "out")
        folder.mkdir()
        yield folder


def kill_at_random(cases: Sequence[Case], runs: int, chance: random.Random) -> str:
    """`runs` counts the renders that really were killed: some end before their moment comes."""
    killed = ended = 0
    while killed < runs:
        case = cases[killed % len(cases)]
        flags = chance.choice([[], ["-n"], ["-y"]])
        with new_folder() as folder:
            if flags == ["-y"]:
                case.lay_old(folder)
            pid = fork(folder, case.command(NEW, *flags))
            time.sleep(chance.uniform(0, case.seconds))
            os.kill(pid, signal.SIGKILL)
            if wait(pid) == -signal.SIGKILL:
                killed += 1
            else:
                ended += 1
                case.seconds *= 0.95  # it was measured on a busier machine
            case.check_killed(folder, flags == ["-y"])
            case.check_again(folder, flags)
    return (
        f"{killed} renders killed (and {ended} ended first): every next one had the right bytes and left nothing else"
    )


def die_at_every_step(case: Case, every: int) -> str:
    steps = 0
    for over_old in (False, True):
        flags = ["-y"] if over_old else []
        step, code = 0, 137
        while code == 137:
            with new_folder() as folder:
                if over_old:
                    case.lay_old(folder)
                counted = SimpleNamespace(**vars(os))
                code = wait(fork(folder, case.command(NEW, *flags), lambda: die_before(step, counted)))  # noqa: B023
                case.check_killed(folder, over_old)
                case.check_again(folder, flags)
            step += every
            steps += 1
        expect(code == 0, f"without a kill it exits with {code}", Path(tempfile.gettempdir(), "x"))
    return f"{steps} steps: every next render ended with the right bytes and left nothing else"


def die_before(step: int, counted: Any) -> None:
    """Let the process end before its change number `step` (from 0) to the disk."""
    left = [step]

    def dying(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any, **more: Any) -> Any:
            if not left[0]:
                os._exit(137)
            left[0] -= 1
            return change(*args, **more)

        return changed

    for name in ("mkdir", "open", "rename", "unlink", "rmdir", "pwrite", "fsync"):
        setattr(counted, name, dying(getattr(os, name)))
    work_folder.os = counted  # type: ignore[assignment]


def race_orphans(case: Case, runs: int) -> str:
    refused = caught = 0
    while caught < runs:
        with new_folder() as folder:
            pid = fork(folder, case.command(OLD))
            encoder = stopped_encoder(pid)
            os.kill(pid, signal.SIGKILL)
            wait(pid)
            if encoder is None:
                continue
            code = render(folder, case.command(NEW))
            expect(code in (0, 75), f"beside an orphan it exits with {code}", folder)
            expect(published(tree(folder)) == (case.made[NEW] if code == 0 else {}), "wrong bytes", folder)
            refused += code == 75
            caught += 1
            with suppress(ProcessLookupError):
                os.kill(encoder, signal.SIGCONT)
            case.check_again(folder, [])
    return f"{caught} orphaned encoders: {refused} next renders refused with 75, never a wrong byte"


def stopped_encoder(pid: int) -> int | None:
    """The encoder of the render `pid`, stopped; None if the render ended before it could be caught."""
    give_up_s = time.monotonic() + 60
    while time.monotonic() < give_up_s and Path(f"/proc/{pid}/exe").exists():
        for task in Path("/proc").glob(f"{pid}/task/*/children"):
            for child in task.read_text().split():
                if b".work/" in read_command(child):  # not the call that tries the encoder's options
                    os.kill(int(child), signal.SIGSTOP)
                    return int(child)
        time.sleep(0.001)
    return None


def read_command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--orphans", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-jobs-") as folder:
        jobs = {name: Path(folder, f"{name}.yaml") for name in (OLD, NEW)}
        jobs[OLD].write_text(JOB.format(prompt="a dog", frames=FRAMES + 12))
        jobs[NEW].write_text(JOB.format(prompt="a cat", frames=FRAMES))
        if options.runs:
            cases = [Case(kind, jobs) for kind in OUTPUTS if kind != "arrays"]
            print(kill_at_random(cases, options.runs, random.Random(options.seed)), flush=True)
        if options.orphans:
            print(race_orphans(Case("mkv", jobs), options.orphans), flush=True)
        if options.steps:
            for name, frames in ((OLD, 4), (NEW, 2)):
                jobs[name].write_text(JOB.format(prompt=name, frames=frames))
            print(die_at_every_step(Case("arrays", jobs), options.steps), flush=True)


if __name__ == "__main__":
    run()
