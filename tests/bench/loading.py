"""Measures loading a transformer from a pickle: time and peak host memory, with and without a cached conversion.

Each load happens in a process of its own (`python -m tests.bench.loading FOLDER DTYPE`), since a peak
is known once only.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from tests.bench.figures import Figure, stopwatch
from tests.parity.make_models import make

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
PARTS = ["config", "tokenizer", "longlive", "text_encoder", "lightvae"]
Cases = tuple[tuple[str, str], ...]
CASES: Cases = (("cold", "float32"), ("warm", "float32"), ("warm", "bfloat16"))


def loading(
    folder: Path, *, heads: int = 6, layers: int = 16, ffn: int = 3072, repeat: int = 3, cases: Cases = CASES
) -> list[Figure]:
    """Measure a float32 checkpoint of about 600 MiB with LongLive's LoRA merged; cold = the cache folder is empty."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory(dir=folder) as place:
        models, cache = Path(place, "models"), Path(place, "cache")
        make(models, parts=PARTS, heads=heads, layers=layers, ffn=ffn)
        size_mib = (models / "LongLive-1.3B/models/longlive_base.pt").stat().st_size / MIB
        for _ in range(repeat):
            shutil.rmtree(cache, ignore_errors=True)
            for case in cases:
                found[case].append(_load_in_a_child(models, cache, case[1]))
    return [figure for case, loads in found.items() for figure in _figures(case, loads, size_mib)]


def _figures(case: tuple[str, str], loads: list[dict[str, float]], size_mib: float) -> list[Figure]:
    name = f"loading: {case[0]}, {case[1]}"
    anonymous = tuple(load["anonymous_mib"] / size_mib for load in loads)
    resident = tuple(load["resident_mib"] / size_mib for load in loads)
    note = f"of the file's {size_mib:.0f} MiB, at the peak, over the idle process"
    return [
        Figure(name, "s", tuple(load["seconds"] for load in loads)),
        Figure(f"{name}: own memory", "x", anonymous, note=note),
        Figure(f"{name}: with mapped pages", "x", resident, note=note),
    ]


def _load_in_a_child(models: Path, cache: Path, dtype: str) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SCOPE_BATCH_CACHE": str(cache)}
    command = [sys.executable, "-m", "tests.bench.loading", str(models), dtype]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    result: dict[str, float] = json.loads(done.stdout)
    return result


class _Watch(threading.Thread):
    """Samples the anonymous and resident memory of the process every few milliseconds."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._end = threading.Event()
        self.first = self.peak = _memory_mib()

    def run(self) -> None:
        while not self._end.wait(0.003):
            self.peak = tuple(map(max, self.peak, _memory_mib()))

    def stop(self) -> list[float]:
        """Return the peaks above the start: anonymous, resident."""
        self._end.set()
        self.join()
        return [peak - first for peak, first in zip(self.peak, self.first, strict=True)]


def _memory_mib() -> tuple[float, ...]:
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "VmRSS"))


def _child(models: str, dtype: str) -> None:
    import torch

    from scope_batch.engine.transformer import CausalWan
    from scope_batch.models.folder import find_models
    from scope_batch.models.modules import load_transformer

    files = find_models("longlive", models, vae_type="lightvae")
    watch = _Watch()
    watch.start()
    seconds: list[float] = []
    with stopwatch(seconds):
        model = load_transformer(files, kind=CausalWan, dtype=getattr(torch, dtype), device=torch.device("cpu"))
    anonymous, resident = watch.stop()
    assert model.config.num_layers
    print(json.dumps({"seconds": seconds[0], "anonymous_mib": anonymous, "resident_mib": resident}))


if __name__ == "__main__":
    _child(*sys.argv[1:])
