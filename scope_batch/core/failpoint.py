"""Named points at which a test makes the process fail: killed, stopped, by an exception, or by a full disk.

`SCOPE_BATCH_FAILPOINT=name:kill`, `name:stop`, `name:raise` or `name:enospc` acts when the point is reached for the
first time, `name:kill:3` for the third. Without the variable a point costs one comparison.
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from dataclasses import dataclass
from typing import Literal, get_args

VARIABLE = "SCOPE_BATCH_FAILPOINT"
Action = Literal["kill", "stop", "raise", "enospc"]
ACTIONS: tuple[Action, ...] = get_args(Action)


class FailpointError(RuntimeError):
    """An error that nobody expects, raised by the action `raise`."""


@dataclass(frozen=True, slots=True)
class Armed:
    """The point `name` acts when it is reached for the `number`-th time."""

    name: str
    action: Action
    number: int


armed: Armed | None = None
reached: Counter[str] = Counter()
"""How often each point was reached since `arm`; nothing is counted before."""


def failpoint(name: str) -> None:
    """Fail here if that was asked for."""
    if armed is None:
        return
    reached[name] += 1
    if name != armed.name or reached[name] != armed.number:
        return
    if armed.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if armed.action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)  # hangs until SIGCONT or SIGKILL
        return
    if armed.action == "enospc":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
    raise FailpointError(f"{VARIABLE}: {name}")


def arm(text: str) -> None:
    """Arm the point that `text` names as the variable does. Raises ValueError for anything else."""
    global armed
    name, _, rest = text.partition(":")
    action, _, number = rest.partition(":")
    for known in ACTIONS:
        if name and action == known and (number or "1").isdigit():
            armed = Armed(name, known, int(number or 1))
            reached.clear()
            return
    raise ValueError(
        f"{VARIABLE}={text}: use NAME:ACTION or NAME:ACTION:NUMBER, where ACTION is {' or '.join(ACTIONS)}"
    )


if VARIABLE in os.environ:
    arm(os.environ[VARIABLE])
