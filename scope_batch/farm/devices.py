"""Reads the value of `--device`: one device, or several of one machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass

from scope_batch.errors import NoDeviceError, UsageError

ALL = "all"
_ONE = re.compile(r"auto|cpu|cuda(:\d+)?")
_SHARES = re.compile(r"cpu:(\d{1,4})")
_COUNT = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"


@dataclass(frozen=True, slots=True)
class Device:
    """A device, or a share of the CPU's cores, that renders one job at a time.

    name         as progress and ledger show it: "cuda:1", "cpu 2/3" (share 2 of 3).
    option       what a render's `device` option is there: "cuda:1", "cpu".
    cpu_threads  how many threads torch may use; None: as many as it takes by itself.
    host         name of the machine where it is, "" for this one.
    """

    name: str
    option: str
    cpu_threads: int | None = None
    host: str = ""


def parse_devices(text: str) -> tuple[Device, ...]:
    """Return the devices that `text` names: "auto", "cuda:0,cuda:1", "cpu:2" (two shares of the cores), "all".

    "all" asks torch in another process, which takes seconds. Raises UsageError, or NoDeviceError if there are none.
    """
    if text == ALL:
        return _all_gpus()
    words = text.split(",")
    devices = tuple(device for word in words for device in _devices(text, word))
    if len(words) > 1:
        taken: set[str] = set()
        for word in words:
            device = "cpu" if word.startswith("cpu") else "cuda:0" if word == "cuda" else word
            if word == "auto" or device in taken:
                reason = "auto stands alone" if word == "auto" else f"{device} stands there twice"
                raise UsageError(f"--device {text}: {reason}")
            taken.add(device)
    return devices


def _devices(text: str, word: str) -> list[Device]:
    if _ONE.fullmatch(word):
        return [Device(word, word)]
    shares = _SHARES.fullmatch(word)
    if not shares or not (count := int(shares[1])):
        allowed = "auto, cpu, cuda, cuda:N, cpu:N (N shares of the cores), all, or several with commas"
        raise UsageError(f"--device {text}: not known; allowed: {allowed}")
    threads = max(1, len(os.sched_getaffinity(0)) // count)
    return [Device(f"cpu {number}/{count}", "cpu", threads) for number in range(1, count + 1)]


def _all_gpus() -> tuple[Device, ...]:
    done = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, text=True, check=False)
    count = int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdecimal() else 0
    if not count:
        raise NoDeviceError("--device all: this machine has no CUDA devices; cpu:N renders on N shares of the cores")
    return tuple(Device(f"cuda:{number}", f"cuda:{number}") for number in range(count))
