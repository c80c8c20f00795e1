#!/usr/bin/env python3
"""Kill and resume a render at the published size on a GPU: python tests/bench/checkpoint.py WORK_FOLDER

Random weights of LongLive's shapes, 832x480. Prints the size of a state, what saving states costs, how long restoring
one takes, and whether the frames of a killed and resumed render are those of an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from scope_batch.engine.session import CausalSession
from scope_batch.events import ChunkDone, Event, Resumed
from scope_batch.job import load_job
from scope_batch.render.engine_pool import Engines
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from tests.parity.make_models import make

CHUNKS, EVERY = 30, 10
SIZE = {"heads": 12, "layers": 30, "ffn": 8960, "rank": 256}
PARTS = ["config", "tokenizer", "longlive", "text_encoder", "wanvae"]


def say(name: str, value: object) -> None:
    print(f"{name:52s} {value}", flush=True)


def main(work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    make(work / "models", parts=PARTS, dtype=torch.bfloat16, fp8_text_encoder=True, **SIZE)
    fields = {"pipeline_id": "longlive", "prompt": "a cat", "num_frames": 12 * CHUNKS - 3, "height": 480, "width": 832}
    changes = [{"chunk": 12, "text": "a dog"}, {"chunk": 18, "text": "a bird", "transition_num_steps": 3}]
    job_file = work / "job.json"
    job_file.write_text(json.dumps({**fields, "models": str(work / "models"), "chunk_specs": changes}))
    engines = Engines()
    never = RenderOptions(checkpoint_every=0)
    render(work, engines, "warm", never)
    plain_s, plain = render(work, engines, "plain", never)
    stored_s, _ = render(work, engines, "stored", replace(never, checkpoint_every=10_000, resume=True))
    states_s, states = render(work, engines, "states", replace(never, checkpoint_every=EVERY, resume=True))
    say("seconds without, with stored chunks, with states", f"{plain_s:.2f}, {stored_s:.2f}, {states_s:.2f}")
    saved = (CHUNKS - 1) // EVERY
    say("cost of a state, s", f"{(states_s - stored_s) / saved:.3f}")
    say("same frames", plain == states)
    engines = Engines()
    torch.cuda.empty_cache()
    command = [sys.executable, "-m", "scope_batch", "render", str(job_file), "-o", str(work / "killed.npy")]
    command += ["--resume", "--checkpoint-every", str(EVERY), "--progress", "none"]
    killed = subprocess.run(command, env={**os.environ, "SCOPE_BATCH_FAILPOINT": "chunk-generated:kill:25"})
    say("killed", killed.returncode == -signal.SIGKILL)
    store = work / ".killed.npy.work" / "chunks"
    say("state, GB", [f"{state.stat().st_size / 1e9:.2f}" for state in sorted(store.glob("*.state"))])
    resumed_s, resumed = render(work, engines, "killed", replace(never, checkpoint_every=EVERY, resume=None))
    say("resumed in, s (loading included)", f"{resumed_s:.2f}")
    say("same frames after kill and resume", resumed == plain)


def render(work: Path, engines: Engines, name: str, options: RenderOptions) -> tuple[float, str]:
    """Render to NAME.npy; returns the seconds from the first chunk to the last, and the sha256 of the file."""
    marks: list[float] = []
    chunks: list[int] = []

    def report(event: Event) -> None:
        if isinstance(event, ChunkDone):
            marks.append(time.monotonic())
            chunks.append(event.chunk)
        if isinstance(event, Resumed):
            say(f"{name}: continues at chunk", f"{event.chunk}, {event.again} again")

    path = work / f"{name}.npy"
    restored: list[float] = []
    original = CausalSession.restore_file

    def timed(self: CausalSession, file: Path) -> None:
        began_s = time.monotonic()
        original(self, file)
        torch.cuda.synchronize()
        restored.append(time.monotonic() - began_s)

    CausalSession.restore_file = timed  # type: ignore[method-assign]
    began_s = time.monotonic()
    render_job(
        load_job(work / "job.json"), options=replace(options, outputs=(str(path),)), report=report, engines=engines
    )
    CausalSession.restore_file = original  # type: ignore[method-assign]
    for seconds in restored:
        say(f"{name}: state restored in, s", f"{seconds:.2f}")
    spans = [after - before for before, after in pairwise(marks)]
    longest = ", ".join(f"{seconds:.2f}" for seconds in sorted(spans)[-3:])
    say(f"{name}: chunk, s: median; the three longest", f"{median(spans):.3f}; {longest}" if spans else "none")
    say(f"{name}: whole render, s", f"{time.monotonic() - began_s:.2f}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    path.unlink()
    return marks[-1] - marks[0] if chunks else 0.0, digest


if __name__ == "__main__":
    main(Path(sys.argv[1]))
