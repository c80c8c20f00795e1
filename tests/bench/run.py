#!/usr/bin/env python3
"""Runs benchmarks and prints a table: python tests/bench/run.py [NAME ...] [--folder DIR] [--json]."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench import commands, engine, loading, output, planner, serve
from tests.bench.figures import Figure, load, machine, table

BENCHMARKS: dict[str, Callable[[Path], list[Figure]]] = {
    "npy": output.npy,
    "mp4": output.mp4,
    "start": commands.start,
    "memory": commands.memory,
    "planner": planner.planner,
    "loading": loading.loading,
    "engine": engine.engine,
    "allocations": engine.allocations,
    "serve": serve.serve,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; all unless given")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="where files are written, and removed again")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = options.names or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"unknown: {', '.join(unknown)}; allowed: {', '.join(BENCHMARKS)}")
    facts = machine()
    figures: list[Figure] = []
    for name in names:
        print(f"{name} ...", file=sys.stderr)
        figures += BENCHMARKS[name](options.folder)
    facts["load_after"] = load()
    if options.json:
        print(json.dumps({"machine": facts, "figures": [figure.to_json() for figure in figures]}, indent=1))
    else:
        print(", ".join(f"{key} {value}" for key, value in facts.items()))
        print(table(figures))
    return int(any(figure.verdict == "missed" for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
