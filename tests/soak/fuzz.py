"""Runs the program on mutated jobs, media and checkpoints; reports every bug exit, long run and large run.

    python -m tests.soak.fuzz --jobs 2000 --media 400

Everything runs in this process, so that a run costs no start. The same seed makes the same inputs: a number that the
report names is run alone by `--first NUMBER --jobs 1`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from scope_batch.__main__ import main as program
from scope_batch.errors import EXIT_BUG, EXIT_CHECK_FAILED
from tests.soak.fuzz_jobs import job_text
from tests.soak.fuzz_media import jobs_for, mutate_one_of, mutated, write_assets

CHECKED = ("--vae", "lightvae", "--vace")
MOST_CPU_S = 2.0
MOST_GROWTH_BYTES = 300 << 20


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of the program. cpu_s: of it and the ffmpegs it started. growth_bytes: its highest memory, less what it
    held before. err: what it wrote to standard error."""

    name: str
    code: int
    cpu_s: float
    growth_bytes: int
    err: str

    @property
    def faults(self) -> list[str]:
        """What must not be, the clock left aside."""
        found = [] if self.code != EXIT_BUG else ["exit 70"]
        if self.growth_bytes > MOST_GROWTH_BYTES:
            found.append(f"{self.growth_bytes >> 20} MB")
        if re.search(r"Traceback|Warning:", self.err):
            found.append("a raw traceback or warning")
        if self.code > EXIT_CHECK_FAILED and not self.err.strip():
            found.append("no word about it")
        return found

    @property
    def line(self) -> str:
        told = " | ".join(self.err.split("\n"))[:300].encode("ascii", "backslashreplace").decode()
        return f"{self.name}: exit {self.code}, {self.cpu_s:.2f} s, {self.growth_bytes >> 20} MB: {told}"


def run(name: str, arguments: Sequence[str]) -> Ran:
    """The program with these arguments, its output kept from the terminal."""
    with tempfile.TemporaryFile("w+", errors="backslashreplace") as out, tempfile.TemporaryFile("w+") as err:
        _forget_peak()
        before_bytes, began_s = _memory("VmRSS"), _cpu_s()
        with redirect_stdout(out), redirect_stderr(err):
            code = program(arguments)
        cpu_s, growth_bytes = _cpu_s() - began_s, _memory("VmHWM") - before_bytes
        err.flush()
        err.buffer.seek(0)
        return Ran(name, code, cpu_s, growth_bytes, err.buffer.read(100_000).decode("utf-8", "replace"))


def run_jobs(first: int, count: int, assets: Path) -> Iterator[Ran]:
    """`plan` of each job."""
    path = assets.parent / "job.yaml"
    for seed in range(first, first + count):
        path.write_bytes(job_text(seed, assets))
        yield run(f"job {seed}", ["plan", str(path)])


def run_media(first: int, count: int, assets: Path) -> Iterator[Ran]:
    """A slate render of a few frames of each file; of every fourth also `info`, `init` or `import`."""
    target, job, out = (assets.parent / name for name in ("media", "media.yaml", "out.npy"))
    target.mkdir(exist_ok=True)
    for seed in range(first, first + count):
        path = mutated(seed, assets, target)
        job.write_text(json.dumps(jobs_for(path, seed)))
        name = f"media {seed} ({path.name})"
        yield run(name, ["render", str(job), "-o", str(out), "-y", "-q"])
        if seed % 4 == 0:
            verb = ("info", "init", "import")[seed // 4 % 3]
            yield run(f"{name} {verb}", [verb, str(path)])
        path.unlink()


def run_checkpoints(first: int, count: int, assets: Path) -> Iterator[Ran]:
    """`models check` of the tiny set with one file mutated."""
    from scope_batch.models.tiny.build import tiny_models_folder

    models = assets.parent / "models"
    shutil.copytree(tiny_models_folder(vace=True), models)
    run("warm", ["models", "check", "longlive", *CHECKED, "--models", str(models)])
    for seed in range(first, first + count):
        path, before = mutate_one_of(seed, models)
        yield run(
            f"checkpoint {seed} ({path.name})", ["models", "check", "longlive", *CHECKED, "--models", str(models)]
        )
        path.write_bytes(before)


def work_folder(folder: Path) -> Path:
    """Make the valid files below `folder`, and it the working directory; returns the folder of those files."""
    os.chdir(folder)
    write_assets(folder / "assets")
    (folder / "warm.yaml").write_text(json.dumps(jobs_for(folder / "assets" / "clip.mp4", 0)))
    run("warm", ["render", "warm.yaml", "-o", "warm.npy", "-q"])  # imports are nobody's cost
    return folder / "assets"


def _cpu_s() -> float:
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _memory(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) << 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--media", type=int, default=400)
    parser.add_argument("--checkpoints", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="seed of the first job and the first file")
    options = parser.parse_args()
    began_s, codes, faulty = time.monotonic(), Counter[int](), 0
    slowest = largest = Ran("none", 0, 0.0, 0, "")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ.setdefault("SCOPE_BATCH_CACHE", f"{folder}/cache")
        assets = work_folder(Path(folder))
        for kind, runs in (("jobs", run_jobs), ("media", run_media), ("checkpoints", run_checkpoints)):
            for ran in runs(options.first, getattr(options, kind), assets):
                codes[ran.code] += 1
                slowest, largest = max(slowest, ran, key=_cpu_of), max(largest, ran, key=_growth_of)
                if ran.faults or ran.cpu_s > MOST_CPU_S:
                    faulty += 1
                    print(f"{', '.join(ran.faults) or 'too long'}: {ran.line}", flush=True)
        os.chdir("/")
    print(
        f"{sum(codes.values())} runs in {time.monotonic() - began_s:.0f} s, {faulty} faulty; exit codes {dict(codes)}"
    )
    print(f"slowest {slowest.line}\nlargest {largest.line}")
    return 1 if faulty else 0


def _cpu_of(ran: Ran) -> float:
    return ran.cpu_s


def _growth_of(ran: Ran) -> int:
    return ran.growth_bytes


if __name__ == "__main__":
    sys.exit(main())
