"""A point fails as asked, at the pass that was asked for, and otherwise not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from scope_batch.core import failpoint as module
from scope_batch.core.failpoint import FailpointError, arm, failpoint


@pytest.fixture(autouse=True)
def disarmed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "armed", None)
    yield
    module.reached.clear()


def test_nothing_happens_unless_asked() -> None:
    failpoint("somewhere")
    assert not module.reached


def test_an_exception_at_the_third_pass() -> None:
    arm("here:raise:3")
    failpoint("here")
    failpoint("elsewhere")
    failpoint("here")
    with pytest.raises(FailpointError, match="here"):
        failpoint("here")
    assert module.reached == {"here": 3, "elsewhere": 1}


def test_a_full_disk() -> None:
    arm("here:enospc")
    with pytest.raises(OSError) as caught:
        failpoint("here")
    assert caught.value.errno == errno.ENOSPC


def test_the_environment_arms_and_kills() -> None:
    code = (
        "from scope_batch.core.failpoint import failpoint; failpoint('a'); print('alive', flush=True); failpoint('b')"
    )
    environment = {**os.environ, module.VARIABLE: "b:kill"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "alive\n")


@pytest.mark.parametrize("text", ["", "x", "x:die", ":kill", "x:kill:a"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NAME:ACTION"):
        arm(text)
