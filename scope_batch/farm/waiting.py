"""Holds the jobs that wait for a device, and chooses the next one: models that are loaded first, then the longest."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from scope_batch.farm.messages import Order


@dataclass(slots=True)
class Task:
    """A job on its way through the devices.

    number      the caller's number for it.
    models      equal for jobs that one loaded engine can render; expected_s: forecast of its seconds.
    furthest    the last chunk that any attempt has generated, -1 for none.
    lost        how many workers were lost with it, and devices that failed, since it got further than ever before;
    lost_on     the device of the last one.
    """

    number: int
    order: Order
    models: Hashable
    expected_s: float
    furthest: int = -1
    lost: int = 0
    lost_on: str = ""


class WaitingTasks:
    """The tasks that wait, by models; those of the same models longest first."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._by_models: dict[Hashable, list[Task]] = {}
        for task in sorted(tasks, key=lambda task: -task.expected_s):
            self._by_models.setdefault(task.models, []).append(task)

    def __len__(self) -> int:
        return sum(map(len, self._by_models.values()))

    @property
    def expected_s(self) -> float:
        return sum(task.expected_s for tasks in self._by_models.values() for task in tasks)

    def take(self, device: str, loaded: Hashable | None, elsewhere: Sequence[Hashable]) -> Task:
        """Remove and return the next task for a device that has `loaded`; `elsewhere`: what the other devices have.

        A device keeps to its models while jobs for them wait. Then it takes the models with the most work for each
        device that has them already. A task that was lost on the device is left to others, if there is another.
        """
        models = loaded
        if loaded not in self._by_models:

            def share_s(models: Hashable) -> float:
                work_s = sum(task.expected_s for task in self._by_models[models])
                return work_s / (1 + elsewhere.count(models))

            models = max(self._by_models, key=share_s)
        tasks = self._by_models[models]
        task = next((task for task in tasks if task.lost_on != device), tasks[0])
        tasks.remove(task)
        if not tasks:
            del self._by_models[models]
        return task

    def put_back(self, task: Task) -> None:
        """Let a task wait again, before all others of its models."""
        self._by_models.setdefault(task.models, []).insert(0, task)

    def take_all(self) -> list[Task]:
        """Remove and return all tasks, by number."""
        tasks = sorted((task for tasks in self._by_models.values() for task in tasks), key=lambda task: task.number)
        self._by_models.clear()
        return tasks
