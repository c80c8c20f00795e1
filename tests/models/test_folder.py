from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scope_batch.errors import UnavailableError
from scope_batch.models.folder import (
    ModelsFolder,
    download_command,
    find_models,
    models_folder,
    models_place,
    pull_command,
)
from scope_batch.models.layout import artifacts


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SCOPE_BATCH_MODELS", "DAYDREAM_SCOPE_MODELS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_nearest_word_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert models_folder(None) == home / "data" / "scope-batch" / "models"
    scope = home / ".daydream-scope" / "models"
    scope.mkdir(parents=True)
    assert models_folder(None) == scope
    monkeypatch.setenv("DAYDREAM_SCOPE_MODELS_DIR", "/scope")
    assert models_folder(None) == Path("/scope")
    monkeypatch.setenv("SCOPE_BATCH_MODELS", "/ours")
    assert models_folder(None) == Path("/ours")
    assert models_folder("~/mine") == home / "mine"


def test_missing_files_are_named_with_the_way_to_get_them(home: Path) -> None:
    (home / "Wan2.1-T2V-1.3B").mkdir()
    (home / "Wan2.1-T2V-1.3B" / "config.json").touch()
    with pytest.raises(UnavailableError) as caught:
        find_models("longlive", str(home))
    message = str(caught.value)
    assert caught.value.exit_code == 69 and "\n" not in message
    for artifact in artifacts("longlive")[1:]:
        assert str(artifact.local) in message
    assert f"to fetch them, 10 GB or more: scope-batch models pull longlive --models {home};" in message
    assert "--models tiny" in message and "config.json" not in message


@pytest.mark.parametrize(
    ("models", "near"), [("tinyy", " (did you mean tiny?)"), ("./Tiny", " (did you mean tiny?)"), ("/nope", "")]
)
def test_the_error_about_a_missing_folder_names_the_size_of_a_pull(models: str, near: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        find_models("krea-realtime-video", models)
    folder = Path(models).absolute()
    assert str(caught.value) == (
        f"krea-realtime-video: {folder}: no such folder of model files{near}; to fetch them, 35 GB or more: "
        f"scope-batch models pull krea-realtime-video --models {folder}; to try without: --models tiny"
    )


def test_the_pull_command_names_what_the_job_needs() -> None:
    command = pull_command("longlive", Path("/my models"), vae_type="lightvae", vace=True)
    assert command == "scope-batch models pull longlive --vae lightvae --vace --models '/my models'"


def test_the_hubs_own_command_is_one_per_repository() -> None:
    lora_and_base = [artifact for artifact in artifacts("longlive") if artifact.repo.endswith("LongLive-1.3B")]
    assert download_command(Path("/m"), lora_and_base) == (
        "hf download daydreamlive/LongLive-1.3B --include models/longlive_base.pt --include models/lora.pt "
        "--local-dir /m/LongLive-1.3B"
    )


def test_the_folder_remembers_the_option_that_named_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert models_place("x").why == "--models" and models_place("x", "job.yaml").why == "job.yaml"
    assert models_place(None).why == "the platform's data folder"
    (home / ".daydream-scope" / "models").mkdir(parents=True)
    assert models_place(None).why == "Scope's own folder"
    monkeypatch.setenv("DAYDREAM_SCOPE_MODELS_DIR", "/scope")
    assert models_place(None) == ModelsFolder(Path("/scope"), "$DAYDREAM_SCOPE_MODELS_DIR")


def test_an_empty_tokenizer_folder_is_missing(home: Path) -> None:
    for artifact in artifacts("longlive", "lightvae"):
        path = home / artifact.local
        path.mkdir(parents=True) if artifact.probe else (path.parent.mkdir(parents=True, exist_ok=True), path.touch())
    with pytest.raises(UnavailableError, match=r"missing in .*: Wan2.1-T2V-1.3B/google/umt5-xxl;"):
        find_models("longlive", str(home), vae_type="lightvae")


def test_the_lora_is_not_needed_when_it_is_not_loaded(parity_models: Path) -> None:
    assert find_models("longlive", str(parity_models), vae_type="lightvae", builtin_lora=False).builtin_lora is None


def test_paths_of_model_files_need_no_torch() -> None:
    code = "import sys, scope_batch.models.folder, scope_batch.files.cache; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_large_pipeline_reads_its_own_config_and_module_and_shares_the_rest() -> None:
    large, small = (
        {artifact.role: str(artifact.local) for artifact in artifacts(name, vace=True)}
        for name in ("krea-realtime-video", "longlive")
    )
    assert {role for role in large if large[role] != small[role]} == {"config", "backbone", "vace"}
    assert large["config"] == "Wan2.1-T2V-14B/config.json"
    assert large["backbone"] == "krea-realtime-video/krea-realtime-video-14b.safetensors"
    assert large["vace"] == "WanVideo_comfy/Wan2_1-VACE_module_14B_bf16.safetensors"


def test_the_small_whole_checkpoint_never_replaces_the_large_module(home: Path) -> None:
    whole = home / "Wan2.1-VACE-1.3B" / "diffusion_pytorch_model.safetensors"
    whole.parent.mkdir()
    whole.touch()
    with pytest.raises(UnavailableError, match="Wan2_1-VACE_module_14B"):
        find_models("krea-realtime-video", str(home), vace=True)
