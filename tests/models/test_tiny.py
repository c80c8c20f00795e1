from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import pytest
import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file

from scope_batch.errors import OutputError
from scope_batch.models import layout
from scope_batch.models.folder import ModelFiles, find_models
from scope_batch.models.modules import load_text_encoder, load_tokenizer, load_transformer, load_vae
from scope_batch.models.tiny import tokenizer as tiny_tokenizer
from scope_batch.models.tiny.build import WEIGHTS, tiny_models_folder
from scope_batch.models.vae_shapes import vae_shapes

from .helpers import CPU

SHAPES = Path(__file__).parents[1] / "parity" / "shapes.json"


pytestmark = pytest.mark.usefixtures("trained_set")


@pytest.fixture
def tiny(trained_set: None) -> ModelFiles:  # noqa: ARG001  (it sets the cache folder)
    return find_models("longlive", "tiny")


def digest(folder: Path) -> dict[str, tuple[str, float]]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".sha256"]
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime)
        for path in files
    }


def make_in(cache: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCOPE_BATCH_CACHE", cache)
        return str(tiny_models_folder())


def test_the_vace_module_is_built_when_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for name in "ab":
        monkeypatch.setenv("SCOPE_BATCH_CACHE", str(tmp_path / name))
        without = digest(tiny_models_folder())
        folder = tiny_models_folder(vace=True)
        made.append({path: what for path, what in digest(folder).items() if path not in without})
        assert without.items() < digest(folder).items()
    assert made[0] == made[1] and list(made[0]) == [str(layout.VACE.local)]


@pytest.mark.parametrize(("name", "base_dim"), [("wan_vae", 96), ("light_vae", 24)])
def test_vae_keys_and_shapes_are_those_of_the_published_files(name: str, base_dim: int) -> None:
    published = json.loads(SHAPES.read_text())[name]
    assert {key: list(shape) for key, shape in vae_shapes(base_dim)} == published


def test_two_builds_are_equal_byte_for_byte_and_build_only_needed_files(tmp_path: Path) -> None:
    first, second = (digest(Path(make_in(str(tmp_path / name)))) for name in "ab")
    assert first == second
    wanted = [str(artifact.local) for artifact in layout.artifacts("longlive", "lightvae")]
    assert all(any(path.startswith(local) for local in wanted) for path in first)
    assert all(any(path.startswith(local) for path in first) for local in wanted)


def test_two_processes_may_make_it_at_once(tmp_path: Path) -> None:
    program = "from scope_batch.models.tiny.build import tiny_models_folder as make; "
    program += "print('ready', flush=True); input(); make()"
    env = {**os.environ, "SCOPE_BATCH_CACHE": str(tmp_path / "shared")}
    command = [sys.executable, "-c", program]
    pair = [subprocess.Popen(command, env=env, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) for _ in range(2)]
    assert [process.stdout.readline() for process in pair if process.stdout] == ["ready\n", "ready\n"]
    for process in pair:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    assert [(process.communicate()[1], process.returncode) for process in pair] == [("", 0), ("", 0)]
    assert digest(Path(make_in(str(tmp_path / "shared")))) == digest(Path(make_in(str(tmp_path / "alone"))))


def lose(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [lose, cut, flip_a_bit])
def test_every_damaged_file_is_rebuilt(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    folder = Path(make_in(str(tmp_path)))
    before = digest(folder)
    for name in before:
        damage(folder / name)
    make_in(str(tmp_path))
    assert digest(folder) == before


def test_a_full_disk_is_an_error_and_leaves_no_partial_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"longlive_base\.pt: cannot be written .*: No space left"):
        make_in(str(tmp_path))
    left = {path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert left == {"config.json", "config.json.sha256"}


@pytest.mark.parametrize("pipeline", ["longlive", "streamdiffusionv2", "memflow", "reward-forcing"])
def test_a_backbone_is_wrapped_as_the_published_one(pipeline: str) -> None:
    files = find_models(pipeline, "tiny")
    loaded = torch.load(files.backbone, weights_only=True)
    weights = loaded if pipeline == "reward-forcing" else loaded["generator"]
    assert all(key.startswith("model.") for key in weights)
    assert (files.builtin_lora is not None) == (pipeline in ("longlive", "memflow"))


@pytest.mark.parametrize("pipeline", ["streamdiffusionv2", "krea-realtime-video"])
def test_a_pipeline_with_changes_of_its_own_gets_them(pipeline: str) -> None:
    transformer = load_transformer(
        find_models(pipeline, "tiny"), kind=WanTransformer3DModel, dtype=torch.float32, device=CPU
    )
    own = load_file(WEIGHTS / f"{pipeline}.safetensors")["proj_out.weight"].float()
    shared = load_file(WEIGHTS / "wan.safetensors")["proj_out.weight"].float()
    assert torch.equal(transformer.proj_out.weight, own) and not torch.equal(own, shared)


def test_special_ids_are_those_of_umt5(tiny: ModelFiles) -> None:
    tokenizer = load_tokenizer(tiny)
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer("").input_ids == [1]


def test_common_words_are_one_token_and_no_word_is_unknown(tiny: ModelFiles) -> None:
    tokenizer = load_tokenizer(tiny)
    prompt = "a red cat walking slowly through a snowy forest at night"
    assert len(tokenizer(prompt).input_ids) == len(prompt.split()) + 1
    for text in ("Schrödinger's 猫 \N{RABBIT}", "zyxquv", "a_b <pad> 12:30!", "Ж" * 40):
        ids = tokenizer(text).input_ids
        assert 2 not in ids and max(ids) < tiny_tokenizer.VOCAB


def test_distinct_prompts_have_distinct_tokens(tiny: ModelFiles) -> None:
    tokenizer = load_tokenizer(tiny)
    prompts = ["a cat", "acat", "a cats", "a cat.", "cat a", "a \N{CAT}", "a \N{DOG}", "a cät", ""]
    assert len({tuple(tokenizer(prompt).input_ids) for prompt in prompts}) == len(prompts)


def test_upper_case_is_no_other_word(tiny: ModelFiles) -> None:
    tokenizer = load_tokenizer(tiny)
    assert tokenizer("A Cat").input_ids == tokenizer("a cat").input_ids


@torch.no_grad()
def test_a_thing_has_the_colour_and_place_of_the_prompt(tiny: ModelFiles) -> None:
    red, blue = pictures(tiny, "a big red ball on the left in the snow", "a big blue ball on the left in the snow")
    left = [picture[:, 0, 56:72, 40:56].mean((1, 2)) for picture in (red, blue)]
    assert left[0][0] - left[0][2] > 0.6 and left[1][2] - left[1][0] > 0.6
    assert (red - blue)[:, 0, :, 112:].abs().mean() < 0.05


def pictures(files: ModelFiles, *prompts: str) -> list[torch.Tensor]:
    """Render a chunk of each prompt in four steps; returns first frames, float32 [3, 1, 128, 224] in -1..1."""
    model = load_transformer(files, kind=WanTransformer3DModel, dtype=torch.float32, device=CPU)
    vae = load_vae(files, dtype=torch.float32, device=CPU)
    tokenizer, encoder = load_tokenizer(files), load_text_encoder(files, device=CPU)
    texts = torch.zeros(len(prompts), 512, encoder.config.d_model)
    for text, prompt in zip(texts, prompts, strict=True):
        rows = encoder(tokenizer(prompt, return_tensors="pt").input_ids).last_hidden_state[0]
        text[: len(rows)] = rows
    noise = torch.randn(4, 1, 16, 3, 16, 28, generator=torch.Generator().manual_seed(0))
    clean = torch.zeros(1)
    for sigma, step in zip((1.0, 0.75, 0.5, 0.25), noise, strict=True):
        latents = (1 - sigma) * clean + sigma * step.expand(len(prompts), -1, -1, -1, -1)
        clean = latents - sigma * model(latents, torch.tensor([1000 * sigma]), texts, return_dict=False)[0]
    mean, std = (torch.tensor(v).reshape(1, 16, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
    return list(vae.decode((clean * std + mean)[:, :, :1], return_dict=False)[0])


def test_all_files_in_the_package_take_less_than_ten_megabytes() -> None:
    files = [file for file in WEIGHTS.parent.rglob("*") if file.is_file() and file.suffix != ".pyc"]
    assert {file.stem for file in WEIGHTS.iterdir()} == {
        "wan",
        "text",
        "vae",
        "vace",
        "tae",
        "streamdiffusionv2",
        "krea-realtime-video",
    }
    assert sum(file.stat().st_size for file in files) < 10_000_000
