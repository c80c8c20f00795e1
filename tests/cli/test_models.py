from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from scope_batch.models import layout
from scope_batch.models.layout import artifacts
from scope_batch.models.processor_files import TINY_FOLDER
from tests.cli.conftest import Run

TOKEN = "hf_averysecrettoken"


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SCOPE_BATCH_MODELS", "DAYDREAM_SCOPE_MODELS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hub that has every requested file, and no other."""

    def snapshot_download(_: str, *, allow_patterns: list[str], local_dir: Path, dry_run: bool, **__: Any) -> Any:
        names = [name.replace("*", "tokenizer_config.json") for name in allow_patterns]
        for name in names if not dry_run else ():
            (local_dir / name).parent.mkdir(parents=True, exist_ok=True)
            (local_dir / name).write_bytes(bytes(2000))
        return [SimpleNamespace(filename=name, file_size=2000, will_download=True) for name in names]

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)


def test_list_names_every_pipeline_its_files_and_their_terms(run: Run) -> None:
    ran = run("models", "list")
    assert ran.code == 0 and "the platform's data folder" in ran.out
    for artifact in artifacts("longlive", vace=True):
        assert str(artifact.local) in ran.out
    assert "daydreamlive/LongLive-1.3B: NOT for commercial use" in ran.out
    assert "daydreamlive/StreamDiffusionV2: not known here" in ran.out
    assert "slate" in ran.out and "scope-batch models pull longlive" in ran.out


def test_files_missing_in_a_named_folder_are_fetched_into_it(run: Run) -> None:
    assert (
        "scope-batch models pull memflow --models /elsewhere\n" in run("models", "list", "--models", "/elsewhere").out
    )


def test_list_as_json(run: Run, parity_models: Path) -> None:
    document = json.loads(run("models", "list", "--models", str(parity_models), "--json").out)
    assert document["folder"] == str(parity_models) and document["why"] == "--models"
    pipelines = {pipeline["id"]: pipeline for pipeline in document["pipelines"]}
    assert pipelines["slate"]["ready"] and pipelines["slate"]["files"] == []
    files = {file["path"]: file for file in pipelines["longlive"]["files"]}
    base = files["LongLive-1.3B/models/longlive_base.pt"]
    assert base["present"] and base["size_bytes"] > 1000 and base["commercial_use"] is False
    assert files["Autoencoders/lightvaew2_1.pth"]["commercial_use"] is True
    (unknown,) = [file for file in pipelines["streamdiffusionv2"]["files"] if file["path"].endswith("model.pt")]
    assert unknown["commercial_use"] is None


def test_path_can_be_used_by_a_script(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run("models", "path", "--models", "here")
    assert (ran.out, ran.err) == (f"{Path.cwd()}/here\n", "--models; not there yet\n")
    monkeypatch.setenv("SCOPE_BATCH_MODELS", str(Path.cwd()))
    assert run("models", "path").err == "$SCOPE_BATCH_MODELS\n"
    document = json.loads(run("models", "path", "--json").out)
    assert document == {"folder": str(Path.cwd()), "why": "$SCOPE_BATCH_MODELS", "exists": True}


def test_a_jobs_models_are_used_unless_the_option_is_set(run: Run) -> None:
    Path("job.yaml").write_text("prompt: a cat\nmodels: ./mine\n")
    ran = run("models", "path", "job.yaml")
    assert ran.out == f"{Path.cwd()}/mine\n" and ran.err.startswith("job.yaml:2:1; ")
    assert run("models", "path", "job.yaml", "--models", "other").err.startswith("--models")
    Path("tiny.yaml").write_text("prompt: a cat\nmodels: tiny\n")
    assert "the built-in set" in run("models", "path", "tiny.yaml").err


def test_a_sound_folder_is_code_0(run: Run) -> None:
    ran = run("models", "check", "longlive", "--models", "tiny")
    assert ran.code == 0 and ran.out.count("  ok  ") == 6
    document = json.loads(run("models", "check", "longlive", "--models", "tiny", "--json").out)
    assert document["ok"] and {file["state"] for file in document["files"]} == {"ok"}


def test_a_bad_folder_is_code_1_with_the_command_to_fetch_files(run: Run) -> None:
    folder = Path("LongLive-1.3B/models")
    folder.mkdir(parents=True)
    (folder / "longlive_base.pt").write_bytes(b"PK\x03\x04")
    ran = run("models", "check", "longlive", "--vae", "lightvae", "--models", ".")
    assert ran.code == 1 and ran.err == ""
    assert "unknown  LongLive-1.3B/models/longlive_base.pt" in ran.out or "wrong" in ran.out
    assert f"scope-batch models pull longlive --vae lightvae --models {Path.cwd()}" in ran.out
    document = json.loads(run("models", "check", "longlive", "--models", ".", "--json").out)
    assert not document["ok"] and {file["state"] for file in document["files"]} == {"wrong", "missing"}


@pytest.mark.usefixtures("online")
def test_pull_fetches_what_is_missing(run: Run) -> None:
    ran = run("models", "pull", "longlive", "--models", "m")
    assert ran.code == 0 and ran.out == ""
    assert "fetching daydreamlive/LongLive-1.3B: 2 files, 4.0 kB" in ran.err and "NOT for commercial use" in ran.err
    assert all((Path("m") / artifact.local).exists() for artifact in artifacts("longlive"))
    assert (
        run("models", "pull", "longlive", "--models", "m", "--dry-run").out == f"nothing is missing in {Path.cwd()}/m\n"
    )


@pytest.mark.usefixtures("online")
def test_a_dry_pull_writes_nothing(run: Run) -> None:
    ran = run("models", "pull", "longlive", "--vace", "--vae", "lightvae", "--models", "m", "--dry-run")
    assert ran.code == 0 and not Path("m").exists() and ran.err == ""
    assert "daydreamlive/WanVideo_comfy: 2 files" in ran.out and "daydreamlive/Autoencoders: 1 file," in ran.out


def test_without_a_network_it_is_code_75_with_the_command_for_elsewhere(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot_download(*_: Any, **__: Any) -> None:
        raise ConnectionError(f"cannot connect with {TOKEN}")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    ran = run("models", "pull", "longlive", "--models", "m")
    assert ran.code == 75 and len(ran.errors) == 1 and TOKEN not in ran.err + ran.out
    assert ran.err.count("hf download") == len({artifact.repo for artifact in artifacts("longlive")})


def test_offline_the_hubs_cache_is_used_or_it_is_code_69(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    ran = run("models", "pull", "longlive", "--models", "m")
    assert ran.code == 69 and len(ran.errors) == 1 and "does not hold daydreamlive/Wan2.1-T2V-1.3B/config" in ran.err
    assert run("models", "pull", "longlive", "--models", "m", "--dry-run").code == 69


@pytest.mark.usefixtures("online")
def test_a_folder_that_cannot_be_created_is_code_74(run: Run) -> None:
    Path("m").mkdir()
    Path("m/LongLive-1.3B").write_text("in the way")
    ran = run("models", "pull", "longlive", "--models", "m")
    assert ran.code == 74 and "LongLive-1.3B" in ran.err


@pytest.mark.usefixtures("online")
def test_a_disk_that_is_too_small_is_code_74_before_anything_is_fetched(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    ran = run("models", "pull", "longlive", "--models", "m")
    assert ran.code == 74 and "are to be fetched" in ran.err and not Path("m").exists()


@pytest.mark.parametrize("verb", ["check", "pull"])
def test_a_pipeline_without_models_has_nothing_to_do(run: Run, verb: str) -> None:
    ran = run("models", verb, "slate")
    assert ran.code == 0 and ran.err == "slate needs no model files\n"


def test_a_pipeline_without_files_is_ok_in_json_too(run: Run) -> None:
    document = json.loads(run("models", "check", "slate", "--json").out)
    assert document == {"pipeline": "slate", "folder": None, "ok": True, "files": []}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("check longliv", "longliv: no such pipeline; allowed: longlive"),
        ("pull longlive --vae big", "--vae big: not known; allowed: wan"),
        ("pull longlive --models tiny", "built-in set"),
        ("list --models tiny", "built-in set"),
    ],
)
def test_an_impossible_choice_is_a_usage_error(run: Run, arguments: str, words: str) -> None:
    ran = run("models", *arguments.split())
    assert ran.code == 2 and len(ran.errors) == 1 and words in ran.err


def test_a_plugin_that_manages_its_own_files_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_BACKBONES", {})
    ran = run("models", "pull", "longlive")
    assert ran.code == 2 and "manages its own model files" in ran.err
    assert "manages its own model files" in run("models", "list").out


def test_models_alone_shows_its_help(run: Run) -> None:
    ran = run("models")
    assert ran.code == 2 and all(verb in ran.out for verb in ("list", "path", "check", "pull"))


def test_the_verbs_know_the_model_of_a_processor(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    shutil.copytree(TINY_FOLDER, folder)
    ran = run("models", "list", "--models", str(folder))
    assert "depth  nearness as brightness" in ran.out and "Depth-Anything-V2-Small-hf/config.json" in ran.out
    (listed,) = json.loads(run("models", "list", "--models", str(folder), "--json").out)["processors"]
    assert (listed["id"], listed["ready"], listed["files"][0]["licence"]) == ("depth", True, "Apache-2.0")
    assert run("models", "check", "depth", "--models", str(folder)).code == 0
    assert run("models", "check", "depth", "--models", "tiny").code == 0
    (weights,) = folder.glob("*/model.safetensors")
    weights.write_bytes(b"torn")
    ran = run("models", "check", "depth", "--models", str(folder))
    assert ran.code == 1 and "wrong" in ran.out and "scope-batch models pull depth" in ran.out
    weights.unlink()
    ran = run("models", "check", "depth", "--models", str(folder), "--json")
    assert [file["state"] for file in json.loads(ran.out)["files"]] == ["ok", "missing"]
    ran = run("models", "pull", "depth", "--vae", "tae")
    assert ran.code == 2 and "depth is a processor: --vae is for pipelines" in ran.err


@pytest.mark.usefixtures("online")
def test_the_files_of_a_processor_are_pulled(run: Run) -> None:
    assert run("models", "pull", "depth", "--models", "m").code == 0
    assert run("models", "pull", "depth", "--models", "m", "--dry-run").out == f"nothing is missing in {Path.cwd()}/m\n"
    names = sorted(path.relative_to("m").as_posix() for path in Path("m").rglob("*.*") if path.is_file())
    assert names == [f"Depth-Anything-V2-Small-hf/{name}" for name in ("config.json", "model.safetensors")]
