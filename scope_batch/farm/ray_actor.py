"""Runs a worker process on a node of a Ray cluster, and passes its messages on as JSON text. Does not import Ray."""

from __future__ import annotations

import json
import os
import queue
import socket
import sys
import warnings
from dataclasses import asdict, dataclass
from functools import partial

from scope_batch import __version__
from scope_batch.errors import ScopeBatchError
from scope_batch.farm.devices import Device
from scope_batch.farm.local_worker import LocalWorker
from scope_batch.farm.messages import Death, Inbox, Ready, Result, Stop
from scope_batch.farm.wire import message_to_text, order_from_text, stop_from_text
from scope_batch.farm.worker import THREAD_VARIABLES

CALLS_AT_A_TIME = 4
"""`take` waits in one of them, while others bring orders."""


@dataclass(frozen=True, slots=True)
class ActorSettings:
    """What an actor is made from.

    device       the `device` option of its renders; cpu_threads as in `Device`.
    folder       working directory of the command: relative paths of jobs and options start there.
    environment  variables that the worker process gets unless the node sets them.
    version      of the command's scope-batch.
    """

    device: str
    cpu_threads: int | None
    folder: str
    environment: dict[str, str]
    version: str = __version__


class RenderActor:
    """The class of the actor. Its methods take and return text, and may be called at the same time.

    The worker is a process of its own, so that Ray and a render do not share signals and crashes; Ray has chosen its
    GPU through CUDA_VISIBLE_DEVICES. It ends when this process does.
    """

    def __init__(self, settings: str) -> None:
        self._inbox: Inbox = queue.SimpleQueue()
        self._worker: LocalWorker | None = None
        host = socket.gethostname()
        try:
            worker = self._worker = self._open(ActorSettings(**json.loads(settings)))
        except (OSError, TypeError, ValueError) as error:
            self._inbox.put((None, Death(f"{host}: {error}")))
        else:
            self._inbox.put((None, Ready(host, worker.name)))

    def take(self) -> list[str]:
        """Wait for messages, and return them, oldest first."""
        messages = [self._inbox.get()[1]]
        while not self._inbox.empty():
            messages.append(self._inbox.get()[1])
        return [message_to_text(message) for message in messages if not isinstance(message, Stop)]

    def start(self, order: str) -> None:
        if self._worker is None:
            return
        try:
            self._worker.start(order_from_text(order))
        except (ScopeBatchError, LookupError, TypeError, ValueError) as error:
            self._inbox.put((self._worker, Result(error)))

    def stop(self, stop: str) -> None:
        if self._worker is not None:
            self._worker.stop(stop_from_text(stop))

    def leave(self) -> None:
        if self._worker is not None:
            self._worker.leave()

    def _open(self, settings: ActorSettings) -> LocalWorker:
        if settings.version != __version__:
            raise ValueError(f"has scope-batch {__version__}, the command is of {settings.version}")
        os.chdir(settings.folder)
        if settings.cpu_threads is None:
            for name in THREAD_VARIABLES:  # set by Ray to the actor's share of the cores: 1 for an actor with a GPU
                os.environ.pop(name, None)
        for name, value in settings.environment.items():
            os.environ.setdefault(name, value)
        sys.modules["__main__"].__file__ = None  # otherwise the new process runs Ray's script again
        device = Device("worker", settings.device, settings.cpu_threads)
        return LocalWorker(device, self._inbox, partial(warnings.simplefilter, "ignore"))


def settings_to_text(settings: ActorSettings) -> str:
    return json.dumps(asdict(settings))
