"""Time LongLive on a CUDA device at the published sizes, with random weights; `tests/gpu` checks the numbers.

    PYTHONPATH=. python tests/bench/gpu.py WORK [full] [full_steer] [small]

WORK is a folder for checkpoints (about 4 GB for `full`, in the published layout and size but with random weights).
Prints one line per figure. Needs nothing but a GPU; no network.
"""

from __future__ import annotations

import gc
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scope_batch.core.engine import LoraRequest
from scope_batch.core.frames import ChunkInputs, ControlFrames
from scope_batch.core.plan import Chunk, Plan, Vace
from scope_batch.engine.loader import CausalEngine
from scope_batch.engine.session import GRAPH_CHUNKS
from scope_batch.events import Event, Stage, silent
from tests.gpu.helpers import cuda_engine, frames_sha256, long_plan
from tests.parity.make_models import make

PARTS = ["config", "tokenizer", "longlive", "text_encoder"]


def say(name: str, value: object) -> None:
    print(f"{name:44s} {value}", flush=True)


def full(work: Path) -> None:
    """Build the published sizes: 1.3B backbone with a LoRA of rank 256, full-width VAE."""
    size = {"heads": 12, "layers": 30, "ffn": 8960, "rank": 256}
    begun = time.monotonic()
    make(work / "full", parts=[*PARTS, "wanvae"], dtype=torch.bfloat16, fp8_text_encoder=True, **size)
    say("random checkpoints made, s", f"{time.monotonic() - begun:.1f}")
    for kernels in ("off", "auto"):
        begun = time.monotonic()
        loaded = cuda_engine(work / "full", vae="wan", kernels=kernels)
        say(f"kernels {kernels}, load, s", f"{time.monotonic() - begun:.1f}")
        for height, width in ((320, 576), (480, 832)):
            time_chunks(loaded, long_plan(GRAPH_CHUNKS, height, width))
        count_syncs(loaded, long_plan(6, 320, 576))
        del loaded
        torch.cuda.empty_cache()


def nothing(_: Chunk) -> ChunkInputs:
    return ChunkInputs()


def time_chunks(loaded: CausalEngine, plan: Plan, inputs: Callable[[Chunk], ChunkInputs] = nothing) -> None:
    torch.cuda.reset_peak_memory_stats()
    marks: list[tuple[str, torch.cuda.Event]] = []
    seconds: list[float] = []
    with loaded.session(plan, lambda event: mark(event, marks)) as session:
        for chunk in plan.chunks:
            given = inputs(chunk)
            begun = time.monotonic()
            session.generate(chunk, given).frames()
            seconds.append(time.monotonic() - begun)
    settled = [s for s, c in zip(seconds, plan.chunks, strict=True) if c.index > len(plan.chunks) // 2]
    recaches = [s for s, c in zip(seconds, plan.chunks, strict=True) if c.recache]
    name = f"{plan.width}x{plan.height}"
    say(f"{name} frames per second, window full", f"{12 / np.median(settled):.1f}")
    say(f"{name} chunk with recache, s / without", f"{recaches[0]:.3f} / {np.median(settled):.3f}")
    say(f"{name} share of decoding", f"{decoding_share(marks):.0%}")
    say(f"{name} peak device memory, GB", f"{torch.cuda.max_memory_allocated() / 1e9:.2f}")


def mark(event: Event, marks: list[tuple[str, torch.cuda.Event]]) -> None:
    if isinstance(event, Stage):
        marks.append((event.stage, torch.cuda.Event(enable_timing=True)))
        marks[-1][1].record()


def decoding_share(marks: list[tuple[str, torch.cuda.Event]]) -> float:
    torch.cuda.synchronize()
    spans = [(a[0], a[1].elapsed_time(b[1])) for a, b in pairwise(marks)]
    return sum(ms for stage, ms in spans if stage == "decoding") / sum(ms for _, ms in spans)


def count_syncs(loaded: CausalEngine, plan: Plan, inputs: Callable[[Chunk], ChunkInputs] = nothing) -> None:
    """Count the host syncs in `generate` that torch reports."""
    with loaded.session(plan, silent) as session, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for chunk in plan.chunks:
            torch.cuda.set_sync_debug_mode("warn" if chunk.index >= 2 and not chunk.text_changed else "default")
            session.generate(chunk, inputs(chunk))
        torch.cuda.set_sync_debug_mode("default")
    syncs = [w for w in caught if "synchroniz" in str(w.message)]
    say("host syncs per chunk", len(syncs) / 3)
    for warning in {f"{w.filename}:{w.lineno}" for w in syncs}:
        say("  at", warning)


def full_steer(work: Path) -> None:
    """Measure the cost of steering at published sizes: masked control in every chunk, a LoRA merged and as a branch."""
    size = {"heads": 12, "layers": 30, "ffn": 8960, "rank": 256, "user_rank": 32}
    parts = [*PARTS, "wanvae", "vace", "loras"]
    make(work / "full_steer", parts=parts, dtype=torch.bfloat16, fp8_text_encoder=True, **size)
    path = work / "full_steer" / "lora" / "style.safetensors"
    for name, loras in (("merged", (LoraRequest(path, 0.5),)), ("branch", (LoraRequest(path, None),))):
        loaded = cuda_engine(work / "full_steer", vae="wan", loras=loras)
        plan = long_plan(14, 480, 832)
        ramp = [replace(c, lora_scales=(0.5 + 0.01 * c.index,), lora_changed=c.index > 0) for c in plan.chunks]
        say("LoRA", name)
        time_chunks(loaded, replace(plan, chunks=tuple(ramp)) if name == "branch" else plan)
        del loaded
        torch.cuda.empty_cache()
    loaded = cuda_engine(work / "full_steer", vae="wan", vace=True)
    for name, share in (("none", 0.0), ("control", 1.0), ("control and mask", 0.5)):
        say("VACE", name)
        plan = long_plan(14, 480, 832)
        vace = [
            replace(c, vace=Vace(1.0, timeline=True, restart_streams=c.index == 0) if share else None)
            for c in plan.chunks
        ]
        time_chunks(loaded, replace(plan, chunks=tuple(vace)), lambda chunk, share=share: control(chunk, share))
    plan = long_plan(6, 480, 832)
    vace = [replace(c, vace=Vace(1.0, timeline=True, restart_streams=c.index == 0)) for c in plan.chunks]
    count_syncs(loaded, replace(plan, chunks=tuple(vace)), lambda chunk: control(chunk, 0.5))


def small(work: Path) -> None:
    """Measure published sizes with little memory: blocks in host memory, weights in fp8, fp8 arithmetic."""
    size = {"heads": 12, "layers": 30, "ffn": 8960, "rank": 256}
    models = make(work / "small", parts=[*PARTS, "wanvae"], dtype=torch.bfloat16, fp8_text_encoder=True, **size)
    for name, request in SMALL.items():
        say("with", name)
        gc.collect()  # hooks and modules refer to each other
        torch.cuda.empty_cache()
        loaded = cuda_engine(models, vae="wan", **request)
        time_chunks(loaded, long_plan(14, 480, 832))
        say("  frames", frames_sha256(loaded, long_plan(3, 320, 576))[:16])
        del loaded


SMALL: dict[str, dict[str, Any]] = {
    "nothing": {},
    "low_vram on": {"low_vram": "on"},
    "low_vram cast": {"low_vram": "cast"},
    "quantization fp8_e4m3fn": {"quantization": "fp8_e4m3fn"},
}


def control(chunk: Chunk, share: float) -> ChunkInputs:
    """Return random control frames; the mask is 1 in the left `share` of the picture."""
    if chunk.vace is None:
        return ChunkInputs()
    frames = np.random.default_rng(chunk.index).uniform(-1, 1, (chunk.frames, 480, 832, 3)).astype(np.float32)
    masks = np.zeros(frames.shape[:3], np.float32)
    masks[..., : int(832 * share)] = 1
    return ChunkInputs(control=ControlFrames(frames, masks, inactive_is_gray=share == 1, reactive_is_gray=False))


def main() -> None:
    work, *names = sys.argv[1:]
    made = (full, full_steer, small)
    tasks: dict[str, Callable[[Path], None]] = {task.__name__: task for task in made}
    say("device", f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    for name in names or tasks:
        tasks[name](Path(work))


if __name__ == "__main__":
    main()
