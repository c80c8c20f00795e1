"""Connects to a Ray cluster, and counts the devices that it has."""

from __future__ import annotations

import logging
import os
import queue
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_batch.errors import UnavailableError, UsageError
from scope_batch.farm.devices import Device

if TYPE_CHECKING:
    from scope_batch.farm.messages import Inbox, Worker
    from scope_batch.farm.scheduler import OpenWorker

AUTO = "auto"
_HOST_PORT = re.compile(r"(\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):(\d{1,5})")
_ADDRESS_VARIABLE = "RAY_ADDRESS"
_CONNECT_WAIT_S = 10.0
"""So long the head node may take to accept a connection; Ray itself waits for minutes."""
_TOKEN = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the token or RAY_AUTH_TOKEN_PATH to a file with it"
DEVICES = ("auto", "cpu", "cuda")
"""Devices that can be asked for; Ray chooses the GPU."""


@dataclass(frozen=True, slots=True)
class RayOptions:
    """Which cluster, and what to use of it: "auto", "cpu" or "cuda", and how many workers; None: as many as fit."""

    address: str
    device: str
    workers: int | None = None

    def __post_init__(self) -> None:
        """Raise UsageError if a value cannot be used."""
        _check(self.address, self.device, self.workers)


def _check(address: str, device: str, workers: int | None) -> None:
    if address.startswith("ray://"):
        raise UsageError(
            f"--ray {address}: a Ray Client sends pickles, which is not supported; run this command on a node of the "
            "cluster with --ray auto, as by ray exec or ray job submit"
        )
    if address != AUTO and not _HOST_PORT.fullmatch(address):
        raise UsageError(f"--ray {address}: not known; allowed: auto, HOST:PORT of the head node")
    if device not in DEVICES:
        raise UsageError(f"--device {device}: with --ray, Ray chooses the device; allowed: {', '.join(DEVICES)}")
    if workers is not None and workers < 1:
        raise UsageError(f"--ray-workers {workers}: must be at least 1")


def seats(nodes: Sequence[Mapping[str, float]], device: str, workers: int | None) -> tuple[Device, ...]:
    """Return the devices for a cluster whose nodes have these resources ("CPU", "GPU").

    device   "auto": GPUs if there are some, else CPUs.
    workers  how many; None: one for each GPU, or else for each CPU. Those that do not fit wait until Ray has room.
             Fewer CPU workers than CPUs share them equally, each within one node.
    Raises UnavailableError if there is nothing to count.
    """
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    if device == "cuda" or (device == "auto" and gpus):
        count = workers or gpus
        if not count:
            raise UnavailableError("--ray: the cluster has no GPUs yet; --ray-workers N asks for N of them")
        return tuple(Device(f"ray {number}/{count}", "cuda") for number in range(1, count + 1))
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    count = workers or sum(cpus)
    if not count:
        raise UnavailableError("--ray: the cluster has no CPUs yet; --ray-workers N asks for N of them")
    shares = range(sum(cpus) // count, 1, -1)
    threads = next((share for share in shares if sum(cpu // share for cpu in cpus) >= count), 1)
    return tuple(Device(f"ray {number}/{count}", "cpu", threads) for number in range(1, count + 1))


@contextmanager
def connected(options: RayOptions, environment: Mapping[str, str]) -> Iterator[tuple[tuple[Device, ...], OpenWorker]]:
    """Connect to a cluster; returns its devices, and what opens a worker on one.

    environment  variables that the worker processes get unless their node sets them.
    Raises UnavailableError if there is no package, no cluster, or no token that it takes.
    """
    from scope_batch.farm.ray_worker import RayWorker

    address = options.address
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UnavailableError("--ray needs ray: pip install 'scope-batch[ray]'") from error
    _check_reachable(os.environ.get(_ADDRESS_VARIABLE, address) if address == AUTO else address)
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    with _quiet_standard_error():
        _on_a_thread(lambda: _connect(ray, address))
    if threading.current_thread() is threading.main_thread():
        # Ray's core has put a handler before Python's, which writes a stack to standard error.
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    # Ray prints a paragraph about each lost worker, which the progress tells in one line.
    with Path(os.devnull).open("w") as null, redirect_stdout(null):
        try:
            devices = seats(
                [node["Resources"] for node in ray.nodes() if node["Alive"]], options.device, options.workers
            )

            def open_worker(device: Device, inbox: Inbox) -> Worker:
                return RayWorker(ray, device, inbox, environment)

            yield devices, open_worker
        finally:
            ray.shutdown()


def _check_reachable(address: str) -> None:
    if not (match := _HOST_PORT.fullmatch(address)):
        return
    try:
        socket.create_connection((match[1].strip("[]"), int(match[2])), _CONNECT_WAIT_S).close()
    except (OSError, OverflowError) as error:
        raise UnavailableError(f"--ray {address}: no Ray cluster can be reached there: {error}") from error


@contextmanager
def _quiet_standard_error() -> Iterator[None]:
    """Drop what is written to standard error: Ray's core writes a line for each try, which no setting turns off."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _on_a_thread(call: Callable[[], None]) -> None:
    """Call on another thread, and raise here what it raises. On the main thread Ray would replace the handler of
    SIGTERM, and no signal would be handled while it waits."""
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  (raised on the other thread)
            ended.put(error)
        else:
            ended.put(None)

    threading.Thread(target=run, name="connecting to Ray", daemon=True).start()
    if (error := ended.get()) is not None:
        raise error


def _connect(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except ray.exceptions.AuthenticationError as error:
        raise UnavailableError(f"--ray {address}: the cluster asks for its token: {_TOKEN}") from error
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        if "Failed to connect" in reason:  # what Ray raises for a wrong token, too
            reason += f". If it asks for a token: {_TOKEN}"
        raise UnavailableError(f"--ray {address}: {reason}") from error
