"""Pipelines and processors of other packages: the example as it would be installed, and packages that are broken."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from scope_batch.__main__ import main
from scope_batch.core import registry
from scope_batch.core.registry import Registry
from scope_batch.errors import JobError, UnavailableError
from scope_batch.job import parse_job
from scope_batch.pipelines import KNOWN_PIPELINES, PIPELINES
from scope_batch.processors import PROCESSORS, ProcessorSpec
from scope_batch.processors.builtin import GRAY

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"
GROUP = "scope_batch.processors"
INSTALL = ("install", "-q", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a process for which the example is installed."""
    target = tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, "-m", "pip", *INSTALL, "--target", target, EXAMPLE], check=True)
    paths = [str(target), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}


def run(environment: dict[str, str], folder: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """Command lines one after another in one process; each one's exit code as a line of standard error."""
    code = "import sys; from scope_batch.__main__ import main\n"
    code += "for line in sys.argv[1:]: print('exit', main(line.split()), file=sys.stderr)"
    return subprocess.run(
        [sys.executable, "-c", code, *lines], env=environment, cwd=folder, capture_output=True, text=True, check=True
    )


def test_the_example_plans_renders_and_checks_its_own_parameters(environment: dict[str, str], tmp_path: Path) -> None:
    job = EXAMPLE / "job.yaml"
    done = run(
        environment,
        tmp_path,
        f"render {job} -q -o a.npy -o a.mp4",
        f"render {job} -q -o b.npy --set post_processor_id=passthrough",
        f"plan {job} --json --set post_processor_id.params.fade=2",
        f'plan {job} --json --set post_processor_id.params={{"speed":1}}',
        f"plan {job} --set pipeline_id=example-bar",
        f"plan {job}",
        "schema",
        "models list",
    )
    codes, errors = done.stderr.splitlines(), [line for line in done.stderr.splitlines() if "error" in line]
    expected = [f"exit {code}" for code in (0, 0, 65, 65, 65, 0, 0, 0)]
    assert [line for line in codes if line.startswith("exit")] == expected, done.stderr
    assert errors[0].endswith("post_processor_id.params.fade: must be less than 1, not 2")
    assert errors[1].endswith("example-trails has no such parameter; allowed: fade")
    assert errors[2].endswith(f"unknown pipeline 'example-bar'; available: {', '.join(PIPELINES)}, example-bars")
    assert "\nexample-bars  a bar moves over a colour that depends on the prompt" in done.stdout
    assert "out through example-trails: 40 frames" in done.stdout and '"example-bars"' in done.stdout
    trails, plain = (np.load(tmp_path / f"{name}.npy") for name in "ab")
    assert trails.shape == plain.shape == (40, 128, 192, 3) and (trails >= plain).all() and (trails > plain).any()
    assert json.loads((tmp_path / "a.npy.json").read_text())["plugins"] == ["scope-batch-example 0.1.0"]


def test_the_examples_own_tests_pass(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "tests"]
    done = subprocess.run(command, env=environment, cwd=EXAMPLE, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout


def install(monkeypatch: pytest.MonkeyPatch, *entries: tuple[str, str], group: str = GROUP) -> None:
    """Register (name, object) pairs, each like the entry point of an installed package."""
    registered: dict[str, tuple[EntryPoint, ...]] = {}
    for name, value in entries:
        registered[name] = (*registered.get(name, ()), EntryPoint(name, value, group))
    monkeypatch.setattr(registry, "entry_points_of", lambda name: registered if name == group else {})


BROKEN = {
    "no_such_module:X": r"ModuleNotFoundError: No module named 'no_such_module'$",
    "scope_batch.processors.builtin:GREY": r"AttributeError: module .* has no attribute 'GREY'$",
    "scope_batch.processors.builtin:gray": r"is a function, expected a ProcessorSpec$",
    "scope_batch.processors.builtin:GRAY": r"its id is 'gray'; the entry point must have that name$",
}


@pytest.mark.parametrize("value", BROKEN)
def test_a_broken_plugin_is_one_line_that_names_it(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    install(monkeypatch, ("bad", value))
    assert "bad" in PROCESSORS.ids() and PROCESSORS.get("gray") is GRAY
    with pytest.raises(UnavailableError, match=rf"^the processor 'bad' of .* \({value}\): .*{BROKEN[value]}"):
        PROCESSORS.get("bad")
    with pytest.raises(JobError, match=rf"^post_processor_id\[0\].id: the processor 'bad' of .*{BROKEN[value]}"):
        parse_job({"prompt": "a cat", "post_processor_id": "bad"})
    assert parse_job({"prompt": "a cat", "post_processor_id": "gray"})


def test_a_pipeline_whose_memory_cannot_be_recomputed_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "faded_pipeline.py").write_text(
        "from dataclasses import replace\nfrom scope_batch.pipelines.builtin import REWARD_FORCING\n"
        "FADED = replace(REWARD_FORCING, id='faded', on_prompt_change='recache')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    install(monkeypatch, ("faded", "faded_pipeline:FADED"), group="scope_batch.pipelines")
    with pytest.raises(UnavailableError) as caught:
        KNOWN_PIPELINES.get("faded")
    assert str(caught.value) == (
        "the pipeline 'faded' of an unknown package (faded_pipeline:FADED): ValueError: pipeline 'faded': "
        "memory='relative' does not allow on_prompt_change='recache', because frames that have faded into the sink "
        "cannot be recomputed; allowed: on_prompt_change='text', or memory='rolling' or 'context'"
    )


@pytest.mark.parametrize("name", ["mine", "gray"])
def test_two_of_one_id_are_refused_when_it_is_used(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    install(monkeypatch, (name, "x:X"), *([(name, "y:Y")] if name == "mine" else []))
    with pytest.raises(
        UnavailableError, match=rf"^the processor '{name}' comes from .* and from .*: uninstall all but"
    ):
        PROCESSORS.get(name)
    assert PROCESSORS.ids().count(name) == 1 and PROCESSORS.get("edges")


def test_a_package_is_named_with_its_version() -> None:
    (entry, *_) = importlib.metadata.entry_points(group="console_scripts", name="pytest")
    assert registry.package_of(entry) == f"pytest {importlib.metadata.version('pytest')}"


def test_a_built_in_spec_has_no_package() -> None:
    assert (KNOWN_PIPELINES.package("longlive"), PROCESSORS.where("gray")) == (None, None)
    with pytest.raises(JobError, match=r"unknown pipeline 'x+\.\.\.x+'; available: longlive"):
        KNOWN_PIPELINES.get("x" * 1000)


def test_commands_without_plugins_do_not_search_for_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: str) -> None:
        raise AssertionError("it looked")

    monkeypatch.setattr(importlib.metadata, "entry_points", fail)
    registry.entry_points_of.cache_clear()
    assert main(["--help"]) == 0 and "render" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="it looked"):
        Registry("processor", GROUP, ProcessorSpec, {}).ids()
