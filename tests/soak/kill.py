"""Kills a render with everything in it, runs the same command again, and compares every byte with an uninterrupted run.

    python tests/soak/kill.py --points --runs 200 --chunks 20

`--points`  one run for each named point of failure, killed there at its first pass, and again at its last.
`--every N` kills at first passes only, and raises an exception or fills the disk at each N-th point.
`--runs`    so many runs that are killed at a random moment.
`--borders` for each pipeline, one run that is killed behind each chunk and continued by another process.
`--faults`  one run for each disk operation that fails (EIO and ENOSPC in turn), each N-th of them.

The job has video input, control frames through VACE, a prompt switch, a transition, a LoRA ramp, a cut, a processor
with memory, sound, and three outputs. Renders are forked from this process, which has a small engine loaded.
Prints a line per part; exits with 1 after the first wrong byte, leftover or chunk too many.
"""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from scope_batch.core import failpoint
from scope_batch.core.engine import Engine, EngineRequest
from scope_batch.core.frames import Frames
from scope_batch.errors import ScopeBatchError
from scope_batch.events import ChunkDone, Event, Report
from scope_batch.job import load_job
from scope_batch.media.ffmpeg import QUIET, file_url, run_quiet
from scope_batch.pipelines import PIPELINES
from scope_batch.processors import PROCESSORS, Parameters, ProcessorSpec
from scope_batch.render.engine_pool import Engines
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from scope_batch.render.prepare import prepare_job
from tests.engine.small import WIDTH, small_engine

FPS, SIZE = 16, 64
NOT_ON_DISK = ("chunk-generated", "chunk-written", "all-generated", "restore", "publish-committed")
"""Points at which no disk is used, so that none can be full."""
EVERY = 2
"""Chunks between two saved states."""
OUTPUTS = ("a.mp4", "b.npy", "c/%05d.png")
Tree = dict[str, bytes]
wrong: list[str] = []
"""What went wrong without ending the script."""
note = os.write
"""Kept apart from the `os.write` that is made to fail."""


class Trail:
    """A processor's stream with memory: half of each frame is the frame before."""

    def __init__(self) -> None:
        self._last: NDArray[np.uint8] | None = None

    def process(self, frames: Frames) -> Frames:
        made = np.empty_like(frames)
        for index, frame in enumerate(frames):
            before = frame if self._last is None else self._last
            made[index] = ((frame.astype(np.uint16) + before) // 2).astype(np.uint8)
            self._last = made[index].copy()
        return made

    def flush(self) -> Frames:
        return np.empty((0, SIZE, SIZE, 3), np.uint8)


class TrailProcessor:
    fps_factor = 1

    def frames_out(self, frames: int) -> int:
        return frames

    def frames_ready(self, frames: int) -> int:
        return frames

    def size_out(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def open(self, height: int, width: int) -> Trail:  # noqa: ARG002  (every processor is told)
        return Trail()


class TrailParameters(Parameters):
    pass


TRAIL = ProcessorSpec("trail", "mixes each frame with the one before", lambda _: TrailProcessor(), TrailParameters)


class Loaded(Engines):
    """Hands out one engine, whatever is asked for."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def get(self, request: EngineRequest, report: Report) -> Engine:  # noqa: ARG002
        return self._engine


def write_lora(path: Path) -> None:
    """A LoRA file that passes as one; the small engine has its own in place of it."""
    shapes = {"lora_A.weight": (2, WIDTH), "lora_B.weight": (WIDTH, 2)}
    tensors = {f"blocks.0.attn1.to_v.{name}": np.ones(shape, np.float32) for name, shape in shapes.items()}
    save_file(tensors, path)


def make_inputs(folder: Path, chunks: int, pipeline: str = "longlive") -> Path:
    """Write the job and everything that it reads; returns the job file."""
    frames = 12 * chunks - 3
    rng = np.random.default_rng(0)
    steps = rng.integers(-9, 10, (frames + 16, SIZE, SIZE, 3)).cumsum(axis=0)
    np.save(folder / "clip.npy", (128 + steps).clip(0, 255).astype(np.uint8))
    raw = folder / "clip.raw"
    raw.write_bytes((128 + steps).clip(0, 255).astype(np.uint8).tobytes())
    picture = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIZE}x{SIZE}", "-r", str(FPS), "-i", file_url(raw)]
    sound = ["-f", "lavfi", "-i", "sine=440:duration=60", "-shortest"]
    target = ["-c:v", "ffv1", "-c:a", "pcm_s16le", "-y", file_url(folder / "clip.mkv")]
    done = run_quiet([*QUIET, *picture, *sound, *target])
    assert done.returncode == 0, done.stderr
    raw.unlink()
    np.save(folder / "control.npy", rng.uniform(-1, 1, (1, 3, 24, SIZE, SIZE)).astype(np.float32))
    write_lora(folder / "style.safetensors")
    job = {
        "pipeline_id": pipeline,
        "models": "tiny",
        "prompt": "a cat",
        "num_frames": frames,
        "height": SIZE,
        "width": SIZE,
        "seed": 42,
        "denoising_steps": [1000, 500],
        "input_path": "clip.mkv",
        "audio": "input",
        "post_processor_id": "trail",
        "lora_scales": {"style.safetensors": [0.0, *(0.1 * index for index in range(1, chunks))]},
        "chunk_specs": [
            {"chunk": 1, "vace_frames": "control.npy"},
            {"chunk": 2, "text": "a dog", "noise_scale": 0.5},
            {"chunk": 4, "text": "a bird", "transition_num_steps": 3},
            {"chunk": chunks - 2, "reset_cache": True, "seed": 5000},
        ],
        "cuts": "allow",
    }
    (folder / "job.json").write_text(json.dumps(job))
    return folder / "job.json"


@dataclass(frozen=True, slots=True)
class Render:
    """How to render the job in a fork; chunks that it made are counted in `folder`.log."""

    job: Path
    engines: Engines
    every: int = EVERY

    def fork(self, folder: Path, before: Callable[[], None] = lambda: None) -> int:
        """Start a render into `folder`; returns its process id."""
        pid = os.fork()
        if pid:
            return pid
        code = 70
        try:
            log = os.open(log_of(folder), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

            def report(event: Event) -> None:
                if isinstance(event, ChunkDone):
                    note(log, b"chunk\n")

            options = RenderOptions(
                outputs=tuple(str(folder / name) for name in OUTPUTS), resume=True, checkpoint_every=self.every
            )
            job = load_job(self.job)
            before()
            render_job(job, options=options, report=report, engines=self.engines)
            note(log, f"reached {json.dumps(failpoint.reached)}\n".encode())
            code = 0
        except ScopeBatchError as error:
            note(log, f"{type(error).__name__}: {error}\n".encode())
            code = error.exit_code
        except BaseException:  # noqa: BLE001  a fork must never return
            note(log, traceback.format_exc().encode())
        os._exit(code)

    def run(self, folder: Path, before: Callable[[], None] = lambda: None) -> int:
        """Its exit status; negative: the signal that ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.fork(folder, before), 0)[1])


def log_of(folder: Path) -> Path:
    return folder.with_suffix(".log")


def chunks_made(folder: Path) -> int:
    return log_of(folder).read_text().count("chunk\n")


def tree(folder: Path) -> Tree:
    """Every file below the folder, and every empty folder with no bytes."""
    paths = [path for path in folder.rglob("*") if path.is_file() or not any(path.iterdir())]
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in paths}


def expect(condition: bool, what: str, folder: Path, *, fatal: bool = True) -> None:
    if not condition:
        names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
        print(f"WRONG: {what}\n{folder}: {names}\n{log_of(folder).read_text()}")
        if fatal:
            sys.exit(1)
        wrong.append(what)


@contextmanager
def new_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="soak-") as parent:
        folder = Path(parent, "out")
        folder.mkdir()
        yield folder


class Case:
    """The job, and what an uninterrupted render makes of it."""

    def __init__(self, render: Render, chunks: int) -> None:
        self.render, self.chunks = render, chunks
        with new_folder() as folder:
            began_s = time.monotonic()
            code = render.run(folder, lambda: failpoint.arm("none:raise"))
            self.seconds = time.monotonic() - began_s
            expect(code == 0, f"a plain render exits with {code}", folder)
            expect(chunks_made(folder) == chunks, f"{chunks} chunks are planned", folder)
            self.made = tree(folder)
            reached = log_of(folder).read_text().rpartition("reached ")[2]
            self.points: Mapping[str, int] = json.loads(reached)

    def check_stopped(self, folder: Path) -> None:
        """What stands under the final names is whole, unless a journal says how it goes on."""
        found = tree(folder)
        published = {name: data for name, data in found.items() if ".work/" not in name and ".partial" not in name}
        if not any(name.endswith("/committed.journal") for name in found):
            expect(published in ({}, self.made), "some outputs stand under their names, and not all", folder)
        for name, data in published.items():
            expect(data in (b"", self.made.get(name)), f"{name} is not whole", folder)

    def check_again(self, folder: Path) -> None:
        """The same command again makes the same bytes, and at most one interval of chunks again."""
        stored = len([*folder.glob(".*.work/chunks/*.frames")])
        code = self.render.run(folder)
        expect(code == 0, f"the next render exits with {code}", folder)
        expect(tree(folder) == self.made, "the next render leaves something else", folder)
        again = chunks_made(folder) + stored - self.chunks
        # A state before chunk k is committed while chunk k + 1 is made, and the chunk in flight is lost as well.
        expect(again <= 2 * EVERY, f"{again} chunks were made again", folder)


def kill_at_points(case: Case, every: int) -> str:
    # States are written in the background, so that not every run passes their points as often as the first one did.
    passed = {name: {1, passes} if every == 1 else {1} for name, passes in case.points.items()}
    cases = [(name, number) for name, numbers in passed.items() for number in sorted(numbers)]
    killed = 0
    for name, number in cases:
        with new_folder() as folder:
            code = case.render.run(folder, lambda: failpoint.arm(f"{name}:kill:{number}"))  # noqa: B023
            expect(code == -signal.SIGKILL or (code == 0 and "state" in name), f"{name}: exits with {code}", folder)
            killed += code != 0
            case.check_stopped(folder)
            case.check_again(folder)
    return f"{len(case.points)} points, {killed} kills: every next render made the same bytes and left nothing else"


def fail_at_points(case: Case, action: str, every: int) -> str:
    names = [name for name in case.points if action != "enospc" or name not in NOT_ON_DISK][::every]
    for name in names:
        with new_folder() as folder:
            code = case.render.run(folder, lambda: failpoint.arm(f"{name}:{action}"))  # noqa: B023
            expect(code in ((0, 74) if action == "enospc" else (0, 70, 74)), f"{name}: exits with {code}", folder)
            case.check_stopped(folder)
            case.check_again(folder)
    return f"{len(names)} points with {action}: every next render made the same bytes and left nothing else"


def kill_at_random(case: Case, runs: int, chance: random.Random) -> str:
    """`runs` counts the renders that really were killed: some end before their moment comes."""
    killed = ended = 0
    while killed < runs:
        with new_folder() as folder:
            pid = case.render.fork(folder)
            time.sleep(chance.uniform(0, case.seconds))
            os.kill(pid, signal.SIGKILL)
            if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL:
                killed += 1
            else:
                ended += 1
                case.seconds *= 0.95  # it was measured on a busier machine
            case.check_stopped(folder)
            case.check_again(folder)
    return f"{killed} kills at random moments ({ended} ended first): the same bytes each time, nothing left behind"


def fail_operations(case: Case, every: int) -> str:
    number, failed, fired = 1, 0, True
    while fired:
        with new_folder() as folder, tempfile.TemporaryFile() as mark:
            code = case.render.run(folder, lambda: fail_operation(number, mark.fileno()))  # noqa: B023
            fired = mark.seek(0, os.SEEK_END) > 0
            expect(code in (0, 74), f"operation {number}: exits with {code}", folder, fatal=False)
            case.check_stopped(folder)
            case.check_again(folder)
        failed += code == 74
        number += every
    return f"{failed} disk operations failed, up to the {number - every}th: never a final file that is not whole"


def fail_operation(number: int, fired: int) -> None:
    """Let this process's operation `number` that changes the disk fail: EIO if it is odd, else ENOSPC.

    fired  descriptor to which a line is written then.
    """
    left = [number]
    code = errno.EIO if number % 2 else errno.ENOSPC

    opens = (os.open, io.open)

    def for_writing(path: Any, mode: Any = "r", *_: Any, **__: Any) -> bool:
        writes = mode & (os.O_WRONLY | os.O_RDWR) if isinstance(mode, int) else {*mode} & {*"wxa+"}
        return bool(writes) and not isinstance(path, int) and str(path) != os.devnull

    def failing(operation: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **more: Any) -> Any:
            if operation in opens and not for_writing(*arguments, **more):
                return operation(*arguments, **more)
            left[0] -= 1
            if left[0] == 0:
                note(fired, b"fired\n")
                raise OSError(code, os.strerror(code))
            return operation(*arguments, **more)

        return run

    for name in ("open", "fsync", "rename", "replace", "write", "pwrite", "mkdir", "unlink"):
        setattr(os, name, failing(getattr(os, name)))
    io.open = failing(io.open)  # type: ignore[assignment]  (what `Path.open` calls)


def prepare(folder: Path, chunks: int, pipeline: str = "longlive", every: int = EVERY) -> Case:
    torch.set_num_threads(1)
    PROCESSORS._builtin["trail"] = TRAIL  # type: ignore[index]
    engine = small_engine(PIPELINES[pipeline], tiny_vae=True)
    job = make_inputs(folder, chunks, pipeline)
    return Case(Render(job, Loaded(engine), every), len(prepare_job(load_job(job)).chunks))


def kill_at_borders(chunks: int) -> str:
    counts = []
    for pipeline in (spec.id for spec in PIPELINES.values() if spec.needs_models):
        with tempfile.TemporaryDirectory(prefix="soak-") as inputs:
            print(f"{pipeline} ...", flush=True)
            case = prepare(Path(inputs), chunks, pipeline, every=1)
            for border in range(1, case.chunks - 1):
                with new_folder() as folder:
                    case.render.run(folder, lambda: failpoint.arm(f"manifest-state-done:kill:{border}"))  # noqa: B023
                    case.check_again(folder)
            counts.append(f"{pipeline} {case.chunks - 2}")
    return f"killed behind a state and continued with the same bytes: {', '.join(counts)}"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", action="store_true")
    parser.add_argument("--borders", action="store_true")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--faults", type=int, default=0)
    parser.add_argument("--chunks", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        case = prepare(Path(folder), asked.chunks)
        print(f"an uninterrupted render takes {case.seconds:.1f} s and passes {len(case.points)} points", flush=True)
        if asked.points:
            print(kill_at_points(case, asked.every), flush=True)
            print(fail_at_points(case, "raise", asked.every), flush=True)
            print(fail_at_points(case, "enospc", asked.every), flush=True)
        if asked.borders:
            print(kill_at_borders(asked.chunks), flush=True)
        if asked.runs:
            print(kill_at_random(case, asked.runs, random.Random(asked.seed)), flush=True)
        if asked.faults:
            print(fail_operations(case, asked.faults), flush=True)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main(sys.argv[1:])
