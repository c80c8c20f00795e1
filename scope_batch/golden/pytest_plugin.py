"""Brings the fixture `scope_golden` and the option `--golden-update` to pytest.

pytest loads this module in every run where the package is installed, so everything else is imported when a test uses
the fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from scope_batch.golden.golden import Verification

ScopeGolden = Callable[..., "Verification | None"]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("scope-batch")
    group.addoption(
        "--golden-update",
        action="store_true",
        help="scope_golden: bless what the jobs render now as the goldens of this machine",
    )


@pytest.fixture
def scope_golden(request: pytest.FixtureRequest) -> ScopeGolden:
    """Returns a function that renders a job and fails the test unless it is equal to its golden.

    `scope_golden(job, golden=None, overrides=(), models=None, device="auto")`: `job` is the path of a job file,
    relative to the test's folder; `golden` the folder of its golden, by default `<job>.golden` beside the job. A
    missing golden fails, too; `pytest --golden-update` makes it.
    """
    here = request.path.parent
    update = bool(request.config.getoption("--golden-update"))

    def check(
        job: str | Path,
        golden: str | Path | None = None,
        *,
        overrides: Sequence[str] = (),
        models: str | None = None,
        device: str = "auto",
    ) -> Verification | None:
        from scope_batch.errors import MissingInputError
        from scope_batch.golden.folder import labels
        from scope_batch.golden.golden import bless, verify
        from scope_batch.job import load_job
        from scope_batch.render.options import RenderOptions

        path = here / job
        folder = path.with_name(f"{path.stem}.golden") if golden is None else here / golden
        loaded = load_job(path, overrides, models=models)
        options = RenderOptions(models=models, device=device, deterministic=True)
        if update:
            bless(loaded, folder, options)
            return None
        if not labels(folder):
            raise MissingInputError(f"{folder}: no golden; pytest --golden-update makes one")
        found = verify(loaded, folder, options)
        if not found.passed:
            pytest.fail("\n".join((f"{path.name}: {found.headline}", *found.lines())), pytrace=False)
        return found

    return check
