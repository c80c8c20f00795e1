"""Checks pulls without a network: a fake Hub raises huggingface_hub's errors."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors as hub_errors
from huggingface_hub.utils import filter_repo_objects

from scope_batch.errors import OutputError, TemporaryError, UnavailableError
from scope_batch.models import hub, pull
from scope_batch.models.layout import Artifact, artifacts
from scope_batch.models.pull import check_room, fetch_files, plan_fetches

LONGLIVE = artifacts("longlive", "lightvae")
Files = Mapping[str, Mapping[str, int]]
SECRET = "hf_secretsecret"


def published(wanted: tuple[Artifact, ...] = LONGLIVE) -> dict[str, dict[str, int]]:
    """Size by file and repository, with files that no pipeline needs."""
    files: dict[str, dict[str, int]] = {artifact.repo: {"README.md": 7} for artifact in wanted}
    for artifact in wanted:
        for name in (artifact.probe, "spiece.model") if artifact.probe else ("",):
            files[artifact.repo][f"{artifact.path}/{name}".rstrip("/")] = 1000
    return files


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    return answer_with(monkeypatch, published())


def answer_with(monkeypatch: pytest.MonkeyPatch, files: Files) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def snapshot_download(repo: str, *, allow_patterns: list[str], local_dir: Path, dry_run: bool, **rest: Any) -> Any:
        calls.append({"repo": repo, "patterns": allow_patterns, "dry_run": dry_run, **rest})
        names = list(filter_repo_objects(files[repo], allow_patterns=allow_patterns))
        if dry_run:
            return [
                SimpleNamespace(
                    filename=name, file_size=files[repo][name], will_download=not (local_dir / name).exists()
                )
                for name in names
            ]
        for name in names:
            (local_dir / name).parent.mkdir(parents=True, exist_ok=True)
            (local_dir / name).write_bytes(bytes(files[repo][name]))
        return str(local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


def fail_with(monkeypatch: pytest.MonkeyPatch, error: Exception, cause: Exception | None = None) -> None:
    def snapshot_download(*_: Any, **__: Any) -> None:
        raise error from cause

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)


def test_files_are_fetched_into_the_loaders_layout(tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    fetches = plan_fetches(LONGLIVE, tmp_path)
    assert not list(tmp_path.iterdir()) and all(call["dry_run"] for call in calls)
    assert sum(fetch.size_bytes for fetch in fetches) == 7000 and sum(fetch.files for fetch in fetches) == 7
    for fetch in fetches:
        fetch_files(fetch, tmp_path)
    assert all((tmp_path / artifact.local).exists() for artifact in LONGLIVE)
    assert not list(tmp_path.rglob("README.md"))
    assert plan_fetches(LONGLIVE, tmp_path) == ()


def test_existing_files_are_not_fetched(tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    for artifact in LONGLIVE:
        if artifact.role not in ("backbone", "builtin_lora"):
            path = tmp_path / artifact.local / artifact.probe
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (fetch,) = plan_fetches(LONGLIVE, tmp_path)
    assert (fetch.repo, fetch.files, fetch.target) == ("daydreamlive/LongLive-1.3B", 2, tmp_path / "LongLive-1.3B")
    assert [call["patterns"] for call in calls] == [["models/longlive_base.pt", "models/lora.pt"]]


def test_a_pinned_revision_is_fetched(
    tmp_path: Path, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "REVISIONS", {"daydreamlive/LongLive-1.3B": "abc123"})
    plan_fetches(LONGLIVE, tmp_path)
    assert {call["revision"] for call in calls} == {None, "abc123"}


def test_a_repository_without_the_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = published()
    del files["daydreamlive/Autoencoders"]["lightvaew2_1.pth"]
    answer_with(monkeypatch, files)
    with pytest.raises(UnavailableError, match=r"daydreamlive/Autoencoders: does not hold lightvaew2_1.pth"):
        plan_fetches(LONGLIVE, tmp_path)


def test_a_small_disk_is_refused_before_anything_is_fetched(
    tmp_path: Path, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetches = plan_fetches(LONGLIVE, tmp_path / "not" / "there")
    check_room(fetches, tmp_path / "not" / "there")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=6999))
    with pytest.raises(OutputError, match=r"7\.0 kB are free"):
        check_room(fetches, tmp_path / "not" / "there")
    assert all(call["dry_run"] for call in calls)


def test_a_disk_error_is_not_reported_as_a_network_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, OSError(28, "No space left on device"))
    with pytest.raises(OutputError, match="No space left"):
        plan_fetches(LONGLIVE, tmp_path)


def answered(kind: type[hub_errors.HfHubHTTPError], status: int) -> Callable[[], Exception]:
    response: Any = SimpleNamespace(status_code=status, headers={}, request=None)
    return lambda: kind(f"for url https://hub/?token={SECRET}", response=response)


CASES = [
    (answered(hub_errors.GatedRepoError, 403), UnavailableError, "gated: ask for access on https://.*hf auth login"),
    (answered(hub_errors.RepositoryNotFoundError, 401), UnavailableError, "no such repository, or .*hf auth login"),
    (answered(hub_errors.RevisionNotFoundError, 404), UnavailableError, "has no revision main"),
    (answered(hub_errors.HfHubHTTPError, 401), UnavailableError, "access denied .HTTP 401.: log in"),
    (answered(hub_errors.HfHubHTTPError, 503), TemporaryError, "answers HTTP 503; .*hf download daydreamlive/"),
    (lambda: hub_errors.OfflineModeIsEnabled(SECRET), TemporaryError, "HF_HUB_OFFLINE is set; .*hf download"),
    (
        lambda: hub_errors.LocalEntryNotFoundError(SECRET),
        TemporaryError,
        "cannot be reached.*hf download .*--local-dir",
    ),
    (lambda: pull._HTTP_ERROR(SECRET), TemporaryError, "cannot be reached"),
    (lambda: ConnectionResetError(104, SECRET), TemporaryError, "cannot be reached.*ConnectionResetError"),
    (lambda: RuntimeError(SECRET), TemporaryError, "broke off .RuntimeError."),
]


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
@pytest.mark.parametrize(("make", "kind", "message"), CASES, ids=range(len(CASES)))
def test_errors_of_the_hub_name_a_remedy_and_leak_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any, kind: type[Exception], message: str, wrapped: bool
) -> None:
    error = make()
    fail_with(monkeypatch, *((hub_errors.DryRunError(SECRET), error) if wrapped else (error,)))
    with pytest.raises(kind, match=message) as caught:
        plan_fetches(LONGLIVE, tmp_path)
    assert SECRET not in str(caught.value) and "\n" not in str(caught.value)


def test_licences_are_plain_and_unknown_ones_are_not_guessed() -> None:
    assert "NOT for commercial use" in hub.licence_of("daydreamlive/LongLive-1.3B").words
    assert hub.licence_of("daydreamlive/Wan2.1-T2V-1.3B").commercial
    assert hub.licence_of("somebody/else") is hub.UNKNOWN and hub.UNKNOWN.commercial is None


def test_progress_bars_can_be_hidden_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.utils import are_progress_bars_disabled

    # Independent of the environment variable at the time of the import.
    monkeypatch.setattr(sys.modules["huggingface_hub.utils.tqdm"], "HF_HUB_DISABLE_PROGRESS_BARS", None)
    for shown in (False, True):
        pull.show_progress(shown=shown)
        assert are_progress_bars_disabled() is not shown
