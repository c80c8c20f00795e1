from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from scope_batch.errors import JobError, MissingInputError
from scope_batch.models.lora.header import check_lora_header

from .lora_files import pair, write, write_header

MODULE = "diffusion_model.blocks.0.self_attn.q"


def refusal(path: Path) -> str:
    with pytest.raises(JobError) as caught:
        check_lora_header(path)
    (line,) = caught.value.problems
    assert "\n" not in line and line.startswith(f"{path}: ")
    return line


class Counted(io.FileIO):
    """A file that counts the bytes that are read."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        got = super().read(size)
        Counted.taken += len(got)
        return got


def test_only_the_header_of_a_large_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"blocks.{i}.{a}_attn.{x}" for i in range(30) for a in ("self", "cross") for x in "qkvo"]
    shapes = {".lora_down.weight": [200, 1536], ".lora_up.weight": [1536, 200], ".alpha": []}
    entries = {f"diffusion_model.{n}{end}": ("BF16", shape) for n in names for end, shape in shapes.items()}
    path = write_header(tmp_path / "large.safetensors", entries)
    assert path.stat().st_size > 280e6
    monkeypatch.setattr(Path, "open", lambda path, _mode: Counted(path))
    check_lora_header(path)
    assert 0 < Counted.taken < 200_000


def test_no_torch_is_imported(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", pair(MODULE))
    code = "import sys; from pathlib import Path; from scope_batch.models.lora.header import check_lora_header; "
    code += f"check_lora_header(Path({str(path)!r})); assert not {{'torch', 'numpy', 'safetensors'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        check_lora_header(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a safetensors file: it is empty"),
        (b"hello, this is no file of tensors at all", "not a safetensors file"),
        (b"<!DOCTYPE html><html>not found</html>", "it looks like a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "Git LFS pointer"),
        (b"\xff" * 64, "not a safetensors file"),
        (b"\x40\0\0\0\0\0\0\0{}" + b" " * 20, "truncated: it ends inside its header"),
        (b"\x08\0\0\0\0\0\0\0{nonsens", "its header is damaged"),
        (b'\x0d\0\0\0\0\0\0\0{"a":{"b":1}}', "its header is damaged"),
        (b"\x02\0\0\0\0\0\0\0{}", "not a LoRA for Wan: it is empty"),
        (b"\x02\0\0\0\0\0\0\0{}and more", "truncated or damaged"),
    ],
)
def test_damaged_and_foreign_bytes(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    assert message in refusal(path)


def test_pickle(tmp_path: Path) -> None:
    for name in ("a.pt", "a.safetensors"):
        torch.save(pair(MODULE), tmp_path / name)
    assert "is read from a .safetensors file, nothing else" in refusal(tmp_path / "a.pt")
    assert "not a safetensors file: it looks like a pickle" in refusal(tmp_path / "a.safetensors")


def test_truncated_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", pair(MODULE))
    path.write_bytes(path.read_bytes()[:-1])
    assert "truncated or damaged: 8," in refusal(path)


def test_other_suffix(tmp_path: Path) -> None:
    assert "is read from a .safetensors file" in refusal(write(tmp_path / "a.sft", pair(MODULE)))


@pytest.mark.parametrize(
    ("module", "hint"),
    [
        (
            "lora_unet_down_blocks_0_attentions_0_proj_in",
            "for Wan (it looks like one for Stable Diffusion): 2 of 2 keys",
        ),
        ("transformer.single_transformer_blocks.0.attn.to_q", "Flux or HunyuanVideo"),
        ("diffusion_model.double_blocks.0.img_attn.qkv", "Flux or HunyuanVideo"),
        ("model.layers.0.self_attn.q_proj", "not a LoRA for Wan: 2 of 2 keys are unknown: model.layers.0.self_attn"),
    ],
)
def test_other_architectures(tmp_path: Path, module: str, hint: str) -> None:
    assert hint in refusal(write(tmp_path / "a.safetensors", pair(module)))


def test_the_message_names_the_architecture_in_the_metadata(tmp_path: Path) -> None:
    note = {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}
    path = write(tmp_path / "a.safetensors", pair("unknown.module"), **note)
    assert "its metadata names stable-diffusion-xl-v1-base/lora" in refusal(path)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (f"{MODULE}.dora_scale", "DoRA"),
        (f"{MODULE}.lora_magnitude_vector", "DoRA"),
        (f"{MODULE}.lora_magnitude_vector.default.weight", "DoRA"),
        (f"{MODULE}.hada_w1_a", "LoHa"),
        (f"{MODULE}.lokr_w1", "LoKr"),
        (f"{MODULE}.oft_blocks", "OFT"),
        (f"{MODULE}.lora_mid.weight", "LoCon"),
        (f"{MODULE}.weight", "whole weights of the model"),
    ],
)
@pytest.mark.parametrize("mixed", [True, False])
def test_kinds_that_cannot_be_applied(tmp_path: Path, key: str, kind: str, mixed: bool) -> None:
    tensors = {key: torch.zeros(4, 4), **(pair(MODULE) if mixed else {})}
    message = refusal(write(tmp_path / "a.safetensors", tensors))
    assert kind in message and key in message and "cannot be applied" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({f"{MODULE}.lora_B.weight": None}, f"half a pair: {MODULE}.lora_A.weight has no lora_B (lora_up)"),
        ({f"{MODULE}.lora_A.weight": None}, f"half a pair: {MODULE}.lora_B.weight has no lora_A (lora_down)"),
        ({f"{MODULE}.lora_A.weight": torch.zeros(3, 256)}, "A [3, 256] and B [256, 4] do not fit each other"),
        ({f"{MODULE}.alpha": torch.zeros(2)}, f"{MODULE}.alpha is [2], not one number"),
        ({"blocks.0.attn1.to_q.lora_down.weight": torch.zeros(4, 256)}, "two keys mean the same"),
        ({f"{MODULE}.lora_A.weight": torch.zeros(4, 256, dtype=torch.int8)}, "I8, but weights are floats"),
        ({f"x{i}": torch.zeros(1) for i in range(3)}, "3 of 5 keys are unknown: x0, x1, x2"),
    ],
)
def test_pairs_that_are_none(tmp_path: Path, change: dict[str, torch.Tensor | None], message: str) -> None:
    tensors = {key: tensor for key, tensor in (pair(MODULE) | change).items() if tensor is not None}
    assert message in refusal(write(tmp_path / "a.safetensors", tensors))


def test_alphas_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", {f"{MODULE}.alpha": torch.tensor(1.0)})
    assert f"holds no LoRA weights, only {MODULE}.alpha" in refusal(path)


def test_unreadable_alpha(tmp_path: Path) -> None:
    for settings in ("{", '{"transformer.lora_alpha": "much"}', "[1]", '{"transformer.lora_alpha": 1e999}'):
        path = write(tmp_path / "a.safetensors", pair(MODULE), lora_adapter_metadata=settings)
        assert "the alpha in its settings cannot be read" in refusal(path)
