"""Checks the files for queues: the examples in the repository, which each queue's own checker has passed, and scripts.

The checkers were `openjd check`, `kubernetes-validate --strict` and SkyPilot's own loader, from PyPI, and OpenCue's
cjsl-1.13.dtd; the array ran on a real Slurm. What is compared here must pass them again when it changes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from scope_batch.__main__ import main
from scope_batch.farm.export import QUEUES, Batch, Written

EXAMPLES = Path(__file__).parents[2] / "examples" / "farm"
COMMANDS = (("echo", "a b", "$HOME"), ("echo", "it's"), ("echo", '["a, b"]'))


def batch(folder: Path, *, commands: tuple[tuple[str, ...], ...] = COMMANDS, gpus: int = 1) -> Batch:
    labels = tuple(f"job {number}" for number in range(1, len(commands) + 1))
    return Batch("night", labels, commands, str(folder), str(folder / "export"), gpus)


def write(written: Written, folder: Path) -> None:
    (folder / "export").mkdir()
    for file in written.files:
        (folder / "export" / file.name).write_text(file.text)


@pytest.mark.parametrize("queue", QUEUES)
def test_an_example_is_what_the_command_in_its_job_writes(
    queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(EXAMPLES / "night.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    options = ("-o", queue, "--name", "night", "--folder", "/shared/film")
    assert main(["farm", "export", "--to", queue, "night.yaml", *options]) == 0
    made = {path.name: path.read_text() for path in (tmp_path / queue).iterdir()}
    assert made == {path.name: path.read_text() for path in (EXAMPLES / queue).iterdir()}


def test_every_queue_has_an_example() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir()} == {*QUEUES}


def test_the_script_runs_the_command_of_a_number_in_the_folder(tmp_path: Path) -> None:
    write(QUEUES["slurm"](batch(tmp_path, commands=(*COMMANDS, ("pwd",)))), tmp_path)

    def ran(number: int) -> subprocess.CompletedProcess[str]:
        script = str(tmp_path / "export" / "render.sh")
        return subprocess.run(["sh", script, str(number)], capture_output=True, text=True, check=False)

    assert [ran(number).stdout for number in range(1, 5)] == [
        "a b $HOME\n", "it's\n", '["a, b"]\n', f"{os.path.realpath(tmp_path)}\n",
    ]  # fmt: skip
    assert ran(5).returncode == 2 and "there is no job 5, only 1 to 4" in ran(5).stderr


def test_kubernetes_tries_passing_faults_again_and_fails_others_alone(tmp_path: Path) -> None:
    spec = yaml.safe_load(QUEUES["kubernetes"](batch(tmp_path)).files[0].text)["spec"]
    assert (spec["completionMode"], spec["completions"], spec["backoffLimitPerIndex"]) == ("Indexed", 3, 20)
    disrupted, passing, lasting = spec["podFailurePolicy"]["rules"]
    assert disrupted["action"] == "Ignore" and disrupted["onPodConditions"][0]["type"] == "DisruptionTarget"
    assert (passing["action"], passing["onExitCodes"]["operator"]) == ("Count", "In")
    assert (lasting["action"], lasting["onExitCodes"]["operator"]) == ("FailIndex", "NotIn")
    assert 75 in passing["onExitCodes"]["values"] and 65 not in passing["onExitCodes"]["values"]


def test_skypilot_recovers_from_75(tmp_path: Path) -> None:
    task = yaml.safe_load(QUEUES["skypilot"](batch(tmp_path)).files[0].text)
    assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [75]
    assert task["envs"] == {"JOB": "1"} and [*task["file_mounts"]] == [str(tmp_path)]


def test_openjd_has_a_task_for_each_job(tmp_path: Path) -> None:
    (step,) = yaml.safe_load(QUEUES["openjd"](batch(tmp_path)).files[0].text)["steps"]
    (parameter,) = step["parameterSpace"]["taskParameterDefinitions"]
    assert parameter == {"name": "Job", "type": "INT", "range": "1-3"}
    assert step["script"]["actions"]["onRun"]["args"] == ["{{Param.Export}}/render.sh", "{{Task.Param.Job}}"]


def test_opencue_has_a_frame_for_each_job(tmp_path: Path) -> None:
    spec = ElementTree.fromstring(QUEUES["opencue"](batch(tmp_path)).files[0].text)
    layer = spec.find("job/layers/layer")
    assert layer is not None and layer.findtext("range") == "1-3" and layer.findtext("chunk") == "1"
    assert layer.findtext("cmd") == f"sh {tmp_path}/export/render.sh #IFRAME#"
    assert [child.tag for child in layer] == ["cmd", "range", "chunk", "gpus", "services"]  # the order of the DTD


FLAMENCO = """
const tasks = [];
const author = {
  Task: (name, type) => ({ name, type, commands: [], addCommand(command) { this.commands.push(command); } }),
  Command: (name, parameters) => ({ name, parameters }),
};
SCRIPT
compileJob({ settings: { script: JOB_TYPE.settings[0].default }, addTask: (task) => tasks.push(task) });
console.log(JSON.stringify(tasks));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_flamenco_gets_a_task_for_each_job(tmp_path: Path) -> None:
    script = FLAMENCO.replace("SCRIPT", QUEUES["flamenco"](batch(tmp_path)).files[0].text)
    ran = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    tasks = json.loads(ran.stdout)
    assert [(task["name"], task["type"]) for task in tasks] == [(f"job {n}", "misc") for n in (1, 2, 3)]
    assert tasks[1]["commands"] == [
        {"name": "exec", "parameters": {"exe": "sh", "args": [f"{tmp_path}/export/render.sh", "2"]}}
    ]


@pytest.mark.parametrize("queue", ["slurm", "kubernetes", "skypilot", "openjd", "opencue"])
def test_a_gpu_is_asked_for_only_where_one_is_wanted(queue: str) -> None:
    with_gpu, without = (QUEUES[queue](batch(Path("/shared"), gpus=gpus)).files[0].text for gpus in (2, 0))
    assert "gpu" in with_gpu or "accelerators" in with_gpu
    assert "gpu" not in without and "accelerators" not in without


@pytest.fixture
def array(tmp_path: Path) -> dict[str, str]:
    """Environment of a task of an array, with a stand-in for scontrol that notes its arguments."""
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/requeued\n')
    (tmp_path / "scontrol").chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": "1", "SLURM_JOB_ID": "7"}


def requeued(folder: Path) -> bool:
    return (folder / "requeued").exists()


@pytest.mark.parametrize(("code", "again"), [(0, False), (65, False), (75, True), (143, False)])
def test_a_task_of_the_array_is_requeued_after_75_alone(
    code: int, again: bool, tmp_path: Path, array: dict[str, str]
) -> None:
    write(QUEUES["slurm"](batch(tmp_path, commands=(("sh", "-c", f"exit {code}"),))), tmp_path)
    script = ["bash", str(tmp_path / "export" / "night.sbatch")]
    assert subprocess.run(script, env=array, check=False).returncode == code
    assert requeued(tmp_path) is again
    if again:
        assert (tmp_path / "requeued").read_text() == "requeue 7\n"
        (tmp_path / "requeued").unlink()
        subprocess.run(script, env={**array, "SLURM_RESTART_COUNT": "50"}, check=False)
        assert not requeued(tmp_path)


@pytest.mark.parametrize(("signum", "again"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_a_signal_reaches_the_render_and_the_script_waits_for_it(
    signum: int, again: bool, tmp_path: Path, array: dict[str, str]
) -> None:
    render = "trap 'touch stopped; exit 143' TERM; touch ready; while :; do sleep 0.05; done"
    write(QUEUES["slurm"](batch(tmp_path, commands=(("sh", "-c", render),))), tmp_path)
    with subprocess.Popen(["bash", str(tmp_path / "export" / "night.sbatch")], env=array) as task:
        while not (tmp_path / "ready").exists():
            time.sleep(0.02)
        task.send_signal(signum)
        assert task.wait() == 143
    assert (tmp_path / "stopped").exists() and requeued(tmp_path) is again
