"""Runs a worker in an actor on a node of a Ray cluster."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scope_batch.farm.devices import Device
from scope_batch.farm.messages import Death, Inbox, Message, Order, Ready, Stop
from scope_batch.farm.ray_actor import CALLS_AT_A_TIME, ActorSettings, RenderActor, settings_to_text
from scope_batch.farm.wire import message_from_text, order_to_text, stop_to_text
from scope_batch.jobs.child_process import EXIT_WAIT_S


class RayWorker:
    """An actor, and a thread that puts what it tells into `inbox`. A lost actor or node is the worker's death."""

    starts_ready = False

    def __init__(self, ray: Any, device: Device, inbox: Inbox, environment: Mapping[str, str]) -> None:
        self._ray, self._inbox = ray, inbox
        folder = str(Path.cwd())
        settings = ActorSettings(device.option, device.cpu_threads, folder, dict(environment))
        resources = {"num_gpus": 1, "num_cpus": 0} if device.option == "cuda" else {"num_cpus": device.cpu_threads}
        actor = ray.remote(RenderActor).options(
            **resources, max_concurrency=CALLS_AT_A_TIME, max_restarts=0, max_task_retries=0
        )
        self._actor = actor.remote(settings_to_text(settings))
        self._has_answered = False
        self._name = "no process yet"
        self._thread = threading.Thread(target=self._listen, name=f"worker on {device.name}", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        return self._name

    def start(self, order: Order) -> None:
        self._actor.start.remote(order_to_text(order))

    def stop(self, stop: Stop) -> None:
        self._actor.stop.remote(stop_to_text(stop))

    def leave(self) -> None:
        if self._has_answered:
            self._actor.leave.remote()
        else:  # it may never get a place
            self.kill()

    def kill(self) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._actor)

    def join(self) -> None:
        self._thread.join(EXIT_WAIT_S)
        if self._thread.is_alive():
            self.kill()
            self._thread.join(EXIT_WAIT_S)

    def _listen(self) -> None:
        death: Death | None = None
        while death is None:
            messages: list[Message]
            try:
                texts = self._ray.get(self._actor.take.remote())
                messages = list(map(message_from_text, texts))
            except (self._ray.exceptions.RayError, ValueError) as error:
                messages = [Death(_how_it_was_lost(error))]
            self._has_answered = True
            for message in messages:
                if isinstance(message, Ready):
                    self._name = f"{message.process} on {message.host}"
                if isinstance(message, Death):
                    death = message
                else:
                    self._inbox.put((self, message))
        # Nothing may hold the device and the job's files when the scheduler gives them to the next worker.
        self.kill()
        self._inbox.put((self, death))


def _how_it_was_lost(error: Exception) -> str:
    text = str(error)
    if getattr(error, "actor_init_failed", False):
        return f"a node of the Ray cluster cannot run this scope-batch: {text.rstrip().splitlines()[-1]}"
    where = re.search(r"^\s*ip: (\S+)$", text, re.MULTILINE)
    why = re.search(r"^The actor (?:is dead|died) because (.+?)(?:\. |\.?$)", text, re.MULTILINE)
    return f"the worker{f' on {where[1]}' if where else ''} was lost: {why[1] if why else _first_line(error)}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
