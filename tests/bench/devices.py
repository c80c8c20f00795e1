"""Times jobs on one device and on several, with a worker killed in the middle and with a device that fails.

    PYTHONPATH=. python tests/bench/devices.py MODELS cuda:0,cuda:1
    PYTHONPATH=. python tests/bench/devices.py tiny cpu:2 --jobs 4 --frames 33 --size 64x64

MODELS is a folder of model files, `random` (random numbers in the published sizes) or `tiny`. Parts, all but `ray` by
default:

`one`, `all`  the jobs on the first device, then on all: seconds, frames per second; for each device the time to load,
              to render, and between jobs. The frames must be the same; on GPUs with `--deterministic`.
`kill`        the worker of the last device is killed in the middle of its first job, which must go on from its last
              state.
`fault`       the worker of the last device is killed as soon as it begins with a job, until the device is left out.
`missing`     a device is named that is not there.
`ray`         a Ray cluster of this machine renders the jobs; needs the extra `ray`, and is done only if it is named.

Exits with 1 if frames differ or something else is not as it should be.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tests.soak.devices import Event, Render, check, digests, remove_outputs, render, write_jobs
from tests.soak.ray_jobs import cluster

MISSING = "cuda:63"
PARTS = ("one", "all", "kill", "fault", "missing")


class KillOnce:
    """Kills the worker of a device when it has made `chunk` of its job."""

    def __init__(self, device: str, chunk: int) -> None:
        self._device, self._chunk = device, chunk
        self._pid = 0
        self.killed = False

    def __call__(self, event: Event, _: int) -> None:
        if event.get("device") != self._device or self.killed:
            return
        if event["event"] == "assigned":
            self._pid = int(event["worker"].split()[-1])
        elif event["event"] == "chunk" and event["chunk"] >= self._chunk:
            os.kill(self._pid, signal.SIGKILL)
            self.killed = True


def kill_always(device: str) -> Callable[[Event, int], None]:
    """Return a watch that kills every worker of a device as soon as it begins with a job."""

    def watch(event: Event, _: int) -> None:
        if event["event"] == "assigned" and event["device"] == device:
            with suppress(ProcessLookupError):
                os.kill(int(event["worker"].split()[-1]), signal.SIGKILL)

    return watch


def show(title: str, done: Render, frames: int) -> None:
    print(f"\n{title}: {done.seconds:.1f} s, {frames / done.seconds:.2f} frames/s over all, exit code {done.code}")
    print("  device        jobs  lost  resumed  load s  render s  frames/s  rest s  between jobs s (sum, most)")
    finished = {event["job"]: event for event in done.events if event["event"] == "finished"}
    for device, attempts in done.on_each_device().items():
        ended = [attempt for attempt in attempts if attempt.outcome == "done"]
        load_s = sum(attempt.load_s for attempt in ended)
        render_s = sum(finished[attempt.job]["render_s"] for attempt in ended)
        made = sum(finished[attempt.job]["frames"] for attempt in ended)
        rest_s = sum(attempt.seconds for attempt in attempts) - load_s - render_s
        idle_s = [attempt.idle_s for attempt in attempts]
        print(
            f"  {device:12s} {len(ended):5d} {sum(attempt.outcome == 'lost' for attempt in attempts):5d} "
            f"{sum(attempt.resumed_chunk is not None for attempt in ended):8d} {load_s:7.1f} {render_s:9.1f} "
            f"{made / render_s if render_s else 0:9.2f} {rest_s:7.1f} {sum(idle_s):12.3f} {max(idle_s):7.3f}"
        )
    for message in done.messages:
        print(f"  {message}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models")
    parser.add_argument("devices")
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--size", default="832x480", help="WIDTHxHEIGHT")
    parser.add_argument("--pipeline", default="longlive")
    parser.add_argument("--folder", type=Path, help="where to write, by default a temporary folder")
    parser.add_argument("--parts", default=",".join(PARTS))
    options = parser.parse_args(arguments)
    parts = options.parts.split(",")
    width, height = map(int, options.size.split("x"))
    first, *_ = options.devices.split(",")
    alone = first.partition(":")[0] if first.startswith("cpu") else first
    total = options.jobs * options.frames
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        fields = {"pipeline_id": options.pipeline, "height": height, "width": width}
        names = write_jobs(folder, options.jobs, lambda _: options.frames, **fields)
        rules = ("--models", options.models, *(("--deterministic",) if "cuda" in options.devices else ()))
        wanted: dict[str, str | None] = {}

        def compare(title: str, done: Render, *, code: int = 0) -> None:
            show(title, done, total)
            found = digests(folder, names)
            wanted.update({} if wanted else found)
            times = Counter(attempt.job for attempt in done.attempts("done"))
            wrong.extend(f"{title}: {line}" for line in check(wanted, found, times))
            if done.code != code:
                wrong.append(f"{title}: exit code {done.code}")
            remove_outputs(folder)

        if "one" in parts:
            compare(f"on {alone}", render(folder, names, alone, *rules))
        several = None
        if "all" in parts:
            several = render(folder, names, options.devices, *rules)
            compare(f"on {options.devices}", several)
        last = "cpu {0}/{0}".format(first[4:]) if first.startswith("cpu:") else options.devices.split(",")[-1]
        if "kill" in parts:
            kill = KillOnce(last, max(1, options.frames // 24))
            done = render(folder, names, options.devices, *rules, "--resume", "--checkpoint-every", "2", watch=kill)
            compare(f"a worker of {last} killed", done)
            if not kill.killed or len(done.attempts("lost")) != 1:
                wrong.append("kill: not one attempt was lost")
            elif not any(attempt.resumed_chunk for attempt in done.attempts("done")):
                wrong.append("kill: the job did not go on from a state")
        if "fault" in parts:
            done = render(folder, names, options.devices, *rules, watch=kill_always(last))
            compare(f"{last} fails", done)
            if not any("left out" in message for message in done.messages):
                wrong.append("fault: the device was not left out")
        if "missing" in parts:
            compare(f"{MISSING} is not there", render(folder, names, f"{options.devices},{MISSING}", *rules))
        if "ray" in parts:
            with (
                tempfile.TemporaryDirectory(prefix="ray-") as place,
                cluster(Path(place), os.cpu_count() or 1) as address,
            ):
                compare("a Ray cluster", render(folder, names, "auto", *rules, "--ray", address))
    for line in wrong:
        print(f"WRONG: {line}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
