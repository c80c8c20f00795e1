"""Checks `farm export`: the tasks of a queue render what `render` does."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

JOB = "pipeline_id: slate\nprompt: a cat\nnum_frames: 36\n"


def commands(folder: str) -> list[list[str]]:
    """The words of every command in the script."""
    lines = (Path(folder) / "render.sh").read_text().splitlines()
    return [shlex.split(line.partition(" set -- ")[2].removesuffix(" ;;")) for line in lines if " set -- " in line]


def planned(run, words: list[str]) -> list[dict[str, object]]:
    """What `plan` makes of the words of a render."""
    kept = [word for word in words if word not in ("scope-batch", "render", "--resume", "--progress", "plain")]
    documents = json.loads(run("plan", *kept, "--json").out)
    return documents if isinstance(documents, list) else [documents]


def of_interest(plan: dict) -> tuple[object, ...]:
    return plan["outputs"][0]["path"], plan["chunks"][0]["seed"], plan["chunks"][0]["prompts"]


def test_each_task_is_one_job_of_the_sweep(run, tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "a.yaml").write_text(f"{JOB}sweep: {{seed: [1, 2], prompt: ['a, \"b\" it''s', c]}}\n")
    (tmp_path / "b.yaml").write_text(JOB)
    words = ("jobs/a.yaml", "b.yaml", "--sweep", "num_frames=12,24")
    ran = run("farm", "export", "--to", "slurm", *words, "-o", "night")
    assert ran.code == 0 and ran.out.splitlines()[-1].startswith("10 jobs; to submit: sbatch ")
    whole = [of_interest(plan) for plan in planned(run, list(words))]
    assert [of_interest(plan) for each in commands("night") for plan in planned(run, each)] == whole
    assert len(commands("night")) == len(whole) == 10


def test_a_path_of_the_file_is_found_from_the_folder_of_the_call(run, tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "a.yaml").write_text(f"{JOB}sweep: {{input_path: [clips/x.mp4, /y.mp4, ~/z.mp4]}}\n")
    run("farm", "export", "--to", "slurm", "jobs/a.yaml", "-o", "night", "--name", "n")
    assert [words[4] for words in commands("night")] == [
        'input_path=["jobs/clips/x.mp4"]', 'input_path=["/y.mp4"]', 'input_path=["~/z.mp4"]',
    ]  # fmt: skip


def test_options_of_the_render_are_in_every_command(run, job):
    options = ("--set", "seed=3", "--models", "tiny", "--ledger", "log", "--render-output", "out/{job}.mp4")
    assert run("farm", "export", "--to", "openjd", job(), "-o", "night", *options).code == 0
    assert [" ".join(words) for words in commands("night")] == [
        "scope-batch render job.yaml --set seed=3 -o out/{job}.mp4 --models tiny --ledger log --resume --progress plain"
    ]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("job.yaml -o Night_1", 2, "--name night_1: must be 1 to 52 lower-case letters, digits and -"),
        ("job.yaml -o night --folder a", 2, "--folder a: must be absolute"),
        ("job.yaml -o night --folder /a#b", 2, "--folder /a#b: must be absolute, without spaces"),
        ("- -o night", 2, "- (standard input): a queue reads its jobs later"),
        ("job.yaml -o night --render-output -", 2, "job.yaml: writes to standard output"),
        ("job.yaml other.yaml -o night --render-output a.mp4", 2, "-o a.mp4: 2 jobs need {job} in it"),
        ("job.yaml sub/job.yaml -o night", 2, "two jobs would write "),
        ("missing.yaml -o night", 66, "missing.yaml: no such job file"),
        ("job.yaml -o night --set fpss=1", 65, "--set fpss: fpss: unknown key"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_writes_nothing(run, job, tmp_path, words, code, message):
    (tmp_path / "sub").mkdir()
    for name in ("job.yaml", "other.yaml", "sub/job.yaml"):
        job(name=name)
    ran = run("farm", "export", "--to", "slurm", *words.split())
    assert (ran.code, len(ran.errors)) == (code, 1) and ran.errors[0].startswith(f"error: {message}")
    assert not list(tmp_path.glob("?ight*"))


def test_files_that_exist_are_kept_unless_told_otherwise(run, job):
    command = ("farm", "export", "--to", "flamenco", job(), "-o", "night")
    assert [run(*command).code, run(*command).code, run(*command, "-y").code] == [0, 73, 0]


def test_the_queues_of_the_option_are_those_there_are():
    from scope_batch.cli.farm_export import Queue
    from scope_batch.farm.export import QUEUES

    assert [*QUEUES] == [queue.value for queue in Queue]
