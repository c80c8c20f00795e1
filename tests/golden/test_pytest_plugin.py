from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import scope_batch.golden.golden
import scope_batch.slate.engine  # noqa: F401  (pytester forgets what a run imports, and numpy cannot be imported twice)
from tests.golden.running import SLATE

pytest_plugins = ("pytester",)

TEST = """
def test_the_slate(scope_golden):
    scope_golden("job.yaml")
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder with a job and a test of it."""
    pytester.makepyfile(TEST)
    (pytester.path / "job.yaml").write_text(SLATE)
    return pytester


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    installed = entry_points(group="pytest11", name="scope-batch")
    plugin = () if installed else ("-p", "scope_batch.golden.pytest_plugin")
    return project.runpytest_inprocess(*plugin, "-p", "no:cacheprovider", *arguments)


def test_a_missing_golden_fails_and_an_update_makes_it(project: pytest.Pytester) -> None:
    run(project).assert_outcomes(failed=1)
    run(project, "--golden-update").assert_outcomes(passed=1)
    run(project).assert_outcomes(passed=1)


def test_a_changed_render_fails_at_its_frame(project: pytest.Pytester) -> None:
    run(project, "--golden-update")
    (project.path / "job.yaml").write_text(SLATE + "seed: 7\n")
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*frame 0 (chunk 0)*", "*changed since it was blessed: seed: 42 -> 7*"])


def test_the_plugin_alone_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, scope_batch.golden.pytest_plugin; "
    code += "assert not {'torch', 'numpy', 'pydantic', 'PIL', 'yaml'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
