"""The names that `import scope_batch` offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import scope_batch


def test_every_name_is_there_and_is_the_one_that_type_checkers_see() -> None:
    for name in scope_batch.__all__:
        assert getattr(scope_batch, name).__name__ == name


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'render_jog'"):
        scope_batch.render_jog  # noqa: B018


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    program = (
        "import sys, scope_batch; heavy = {'torch', 'pydantic', 'numpy'}; print(heavy & set(sys.modules));"
        "from scope_batch import load_job, prepare_job, render_job, RenderOptions; print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[:2] == ["set()", "False"]
