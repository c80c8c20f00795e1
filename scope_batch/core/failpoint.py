"""Named points at which a test makes the process fail: killed, with an exception, or with a full disk.

`SCOPE_BATCH_FAILPOINT=name:kill`, `name:raise` or `name:enospc` acts when the point is reached for the first time,
`name:kill:3` for the third. Without the variable a point costs one comparison.
"""

from __future__ import annotations

import errno
import os
import signal

VARIABLE = "SCOPE_BATCH_FAILPOINT"
ACTIONS = ("kill", "raise", "enospc")


class Failpoint(RuntimeError):
    """Raised by the action `raise`: an error that nobody expects."""


def _parse(text: str) -> tuple[str, str, int]:
    """Name, action and how many times the point is passed before. Raises ValueError for anything else."""
    name, _, rest = text.partition(":")
    action, _, count = rest.partition(":")
    if not name or action not in ACTIONS or (count and not count.isdigit()):
        raise ValueError(f"{VARIABLE}={text}: wanted is NAME:ACTION or NAME:ACTION:N, actions are {', '.join(ACTIONS)}")
    return name, action, int(count or 1)


_armed = _parse(text) if (text := os.environ.get(VARIABLE)) else None
_passed = 0


def failpoint(name: str) -> None:
    """Fail here if the environment asks for it."""
    global _passed  # noqa: PLW0603  (the process is what fails)
    if _armed is None or _armed[0] != name:
        return
    _passed += 1
    if _passed != _armed[2]:
        return
    if _armed[1] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if _armed[1] == "enospc":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
    raise Failpoint(f"{VARIABLE}: {name}")
