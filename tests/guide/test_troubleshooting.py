"""Every message of the troubleshooting page is one that the program prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scope_batch.__main__ import main
from tests.documents import ROOT, page

SECTIONS = re.findall(r"^### `([^`\n]+)`\n\n(.*?)(?=^##|\Z)", page("troubleshooting").text, re.MULTILINE | re.DOTALL)
WITH_A_JOB = [
    (message, found[1]) for message, text in SECTIONS if (found := re.search(r"```yaml\n(.*?)```", text, re.S))
]
WITHOUT = [message for message, text in SECTIONS if "```yaml" not in text]
SOURCE = "\n".join(path.read_text() for path in (ROOT / "scope_batch").rglob("*.py"))


@pytest.mark.parametrize(("message", "job"), WITH_A_JOB, ids=[message for message, _ in WITH_A_JOB])
def test_the_job_gets_the_message(
    message: str, job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "job.yaml").write_text(job)
    main(["plan", "job.yaml"])
    assert message in " ".join("".join(capsys.readouterr()).split())


@pytest.mark.parametrize("message", WITHOUT)
def test_a_message_without_a_job_is_in_the_program(message: str) -> None:
    assert message in SOURCE
