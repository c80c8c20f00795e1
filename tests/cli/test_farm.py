"""`render --ledger` and `farm status`."""

from __future__ import annotations

import json
from pathlib import Path


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "jobs.jsonl").read_text().splitlines()]


def test_the_ledger_tells_how_each_job_ended(run, job, tmp_path):
    assert run("render", job(), job("busy", "b.yaml"), "--ledger", "led", "--device", "cpu").code == 75
    done, failed = lines(tmp_path / "led")
    assert (done["job"], done["outcome"], done["exit_code"], done["device"]) == ("job.yaml", "done", 0, "cpu")
    assert done["outputs"] == [str(tmp_path / "job.mp4")] and done["load_s"] == 0.5 and len(done["fingerprint"]) == 64
    assert (failed["outcome"], failed["exit_code"], failed["message"]) == ("failed", 75, "the encoder was killed")


def test_the_last_attempt_counts_in_the_status(run, job):
    names = [job(name=name) for name in ("a.yaml", "b.yaml")]
    for _ in range(2):
        run("render", *names, "--ledger", "led")
    shown = run("farm", "status", "led")
    assert shown.code == 0 and shown.out.splitlines()[-1] == "2 jobs: 2 done"
    (attempts, _) = [job["attempts"] for job in json.loads(run("farm", "status", "led", "--json").out)["jobs"]]
    assert [attempt["job"] for attempt in attempts] == ["a.yaml", "a.yaml"]


def test_a_damaged_line_is_told(run, job, tmp_path):
    run("render", job(), "--ledger", "led")
    with (tmp_path / "led" / "jobs.jsonl").open("a") as file:
        file.write("{\n")
    shown = run("farm", "status", "led").out.splitlines()
    assert shown[-2:] == ["1 job: 1 done", "led/jobs.jsonl: 1 damaged line not counted"]


def test_a_folder_without_a_ledger_is_a_missing_input(run):
    assert run("farm", "status", "nowhere").code == 66


def test_a_ledger_that_cannot_be_written_starts_no_job(run, fake, job):
    ran = run("render", job(), "--ledger", "job.yaml")
    assert ran.code == 74 and len(ran.errors) == 1 and fake.CALLS == []
