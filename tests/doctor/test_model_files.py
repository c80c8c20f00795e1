from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scope_batch.doctor.finding import Finding
from scope_batch.doctor.model_files import check
from tests.models.helpers import BACKBONE, LORA, TEXT_ENCODER, VAE, changed, linked


@pytest.fixture
def folder(parity_models: Path, tmp_path: Path) -> Path:
    linked(parity_models, tmp_path / "models")
    return tmp_path / "models"


def about(folder: Path, word: str) -> list[Finding]:
    return [finding for finding in check(str(folder)) if word in finding.text]


def cut(path: Path) -> None:
    data = path.read_bytes()[:1000]
    path.unlink()
    path.write_bytes(data)


def test_no_folder_is_a_warning_with_the_pull_command(tmp_path: Path) -> None:
    (finding,) = check(str(tmp_path / "models"))
    assert finding.state == "warn" and "scope-batch models pull longlive" in finding.advice


def test_a_pipeline_that_is_not_installed_is_no_fault(tmp_path: Path) -> None:
    (finding,) = about(tmp_path, "longlive:")
    assert finding.state == "warn" and "not installed: missing" in finding.text and "longlive_base.pt" in finding.text


def test_a_valid_folder_has_one_line_for_the_pipeline(folder: Path) -> None:
    (finding,) = about(folder, "longlive")
    assert (finding.state, finding.text) == (
        "warn",
        "longlive: complete except for the default VAE (vae_type: wan)",
    )


def test_every_invalid_file_is_named(parity_models: Path, tmp_path: Path) -> None:
    def rename(state: dict[str, Any]) -> None:
        for key in list(state):
            state[f"net.{key}"] = state.pop(key)

    folder = tmp_path / "models"
    changed(parity_models, folder, VAE, rename)
    cut(folder / TEXT_ENCODER)
    (folder / LORA).unlink()
    findings = list(check(str(folder)))
    faults = {
        str(finding.values.get("path", finding.values.get("pipeline"))): finding
        for finding in findings
        if finding.state == "fault"
    }
    assert set(faults) == {str(folder / VAE), str(folder / TEXT_ENCODER), "longlive"}
    assert (
        "begins with 'net.'" in faults[str(folder / VAE)].text
        and "truncated" in faults[str(folder / TEXT_ENCODER)].text
    )
    assert "incomplete: missing LongLive-1.3B/models/lora.pt" in faults["longlive"].text
    assert all(fault.advice for fault in faults.values())


def test_a_file_that_depends_on_a_broken_one_is_a_warning(folder: Path) -> None:
    cut(folder / BACKBONE)
    states = {finding.state for finding in about(folder, "longlive_base.pt")}
    assert states == {"fault", "warn"} and about(folder, "longlive:")[0].state == "warn"


def test_a_shared_file_is_named_once(folder: Path) -> None:
    cut(folder / TEXT_ENCODER)
    assert sum(finding.state == "fault" for finding in about(folder, "truncated")) == 1
