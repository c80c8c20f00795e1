from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from scope_batch.errors import UnavailableError
from scope_batch.models.hub_cache import check_complete, find_cached, link_files
from scope_batch.models.layout import Artifact, artifacts

LONGLIVE = artifacts("longlive", "lightvae")


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def keep(hub_cache: Path, artifact: Artifact) -> None:
    """Put an artifact into the cache in huggingface_hub's layout: blobs, and snapshots that link to them."""
    repo = hub_cache / f"models--{artifact.repo.replace('/', '--')}"
    for name in (f"{artifact.path}/{artifact.probe}", f"{artifact.path}/more") if artifact.probe else (artifact.path,):
        blob, link = repo / "blobs" / name.replace("/", "-"), repo / "snapshots" / "abc" / name
        for folder in (blob.parent, link.parent, repo / "refs"):
            folder.mkdir(parents=True, exist_ok=True)
        blob.write_text(name)
        link.symlink_to(blob)
        (repo / "refs" / "main").write_text("abc")


def test_files_of_the_cache_are_linked_into_the_models_folder(tmp_path: Path, hub_cache: Path) -> None:
    for artifact in LONGLIVE:
        keep(hub_cache, artifact)
    cached = find_cached(LONGLIVE, tmp_path / "models")
    check_complete(LONGLIVE, cached, tmp_path / "models")
    assert not (tmp_path / "models").exists()
    link_files(cached)
    for artifact in LONGLIVE:
        path = tmp_path / "models" / artifact.local
        assert (path / artifact.probe if artifact.probe else path).read_text().startswith(artifact.path)
    assert (tmp_path / "models" / LONGLIVE[-1].local / "more").exists()
    assert find_cached(LONGLIVE, tmp_path / "models") == ()


def test_links_reach_over_disks(tmp_path: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_disk(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    keep(hub_cache, LONGLIVE[0])
    monkeypatch.setattr("os.link", other_disk)
    link_files(find_cached(LONGLIVE, tmp_path / "models"))
    assert (tmp_path / "models" / LONGLIVE[0].local).is_symlink()
    assert (tmp_path / "models" / LONGLIVE[0].local).read_text() == "config.json"


def test_files_missing_in_the_cache_are_named_with_a_download_command(tmp_path: Path, hub_cache: Path) -> None:
    for artifact in LONGLIVE[1:]:
        keep(hub_cache, artifact)
    with pytest.raises(UnavailableError) as caught:
        check_complete(LONGLIVE, find_cached(LONGLIVE, tmp_path), tmp_path)
    message = str(caught.value)
    assert f"HF_HUB_OFFLINE is set, and the Hub's cache {hub_cache} does not hold daydreamlive/Wan2.1" in message
    assert "hf download daydreamlive/Wan2.1-T2V-1.3B --include config.json" in message and "LongLive" not in message
