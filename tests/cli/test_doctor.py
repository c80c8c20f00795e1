from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import scope_batch.cli.doctor
from scope_batch.doctor import examine
from scope_batch.doctor.finding import Finding
from tests.cli.conftest import Run


def fake_findings(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    monkeypatch.setattr(scope_batch.cli.doctor, "examine", lambda *_, **__: iter(findings))


OK = Finding("disk", "ok", "/somewhere: 100 MB/s", values={"mb_per_s": 100.0})
WARN = Finding("device", "warn", "no CUDA device", "buy one")
FAULT = Finding("ffmpeg", "fault", "no ffmpeg found", "install it")


def test_lines_hold_the_finding_and_its_advice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_findings(monkeypatch, OK, WARN)
    ran = run("doctor")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].split(maxsplit=2) == ["ok", "disk", "/somewhere: 100 MB/s"]
    assert lines[2].strip() == "-> buy one" and lines[-1] == "no faults, 1 warning"


def test_a_fault_is_code_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_findings(monkeypatch, FAULT, OK)
    ran = run("doctor")
    assert ran.code == 1 and ran.out.startswith("FAULT  ffmpeg") and "1 fault, no warnings" in ran.out


def test_json_holds_every_finding(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_findings(monkeypatch, OK, FAULT)
    ran = run("doctor", "--json")
    document = json.loads(ran.out)
    assert ran.code == 1 and document["ok"] is False
    assert document["findings"][0] == {
        "subject": "disk",
        "state": "ok",
        "text": "/somewhere: 100 MB/s",
        "advice": "",
        "values": {"mb_per_s": 100.0},
    }


def test_a_line_comes_as_soon_as_it_is_known(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Iterator[Finding]:
        yield OK
        raise KeyboardInterrupt

    monkeypatch.setattr(scope_batch.cli.doctor, "examine", broken)
    ran = run("doctor")
    assert ran.code == 130 and "100 MB/s" in ran.out


def test_the_built_in_set_is_refused_as_a_folder(run: Run) -> None:
    assert run("doctor", "--models", "tiny").code == 2


def test_a_check_that_cannot_be_imported_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("devices", "attention", "model_files", "video_encoders"):
        monkeypatch.setitem(sys.modules, f"scope_batch.doctor.{name}", None)
    faults = [finding for finding in examine(None, tmp_path) if finding.state == "fault"]
    assert [fault.text.split(" cannot")[0] for fault in faults] == [
        "devices",
        "attention",
        "video encoders",
        "model files",
    ]
    assert all("cannot be looked at: " in fault.text and fault.advice for fault in faults)


def test_every_part_of_this_machine_is_checked(parity_models: Path, tmp_path: Path) -> None:
    findings = list(examine(str(parity_models), tmp_path))
    subjects = {finding.subject for finding in findings}
    assert subjects == {"python", "package", "device", "attention", "ffmpeg", "encoders", "models", "cache", "disk"}
    json.dumps([dict(finding.values) for finding in findings])
    assert any(finding.text.startswith("longlive: complete") for finding in findings)
