from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch

from scope_batch.errors import JobError, MissingInputError
from scope_batch.events import Event, Warned
from scope_batch.models.keys import to_diffusers_transformer
from scope_batch.models.lora.header import Shapes, check_loras
from scope_batch.models.lora.key_names import LoraLayout

from .lora_files import FFN, WIDTH, pair, write

Q = "diffusion_model.blocks.0.self_attn.q"
VACE_Q = "diffusion_model.vace_blocks.1.self_attn.q"
I2V_K = "diffusion_model.blocks.0.cross_attn.k_img"


@pytest.fixture(scope="module")
def models(model_factory: ModuleType) -> tuple[Shapes, Shapes]:
    """Return the shapes of the tiny backbone and of the tiny VACE module."""
    dims = {"heads": 2, "layers": 4, "ffn": FFN}
    backbone, vace = (
        model_factory.transformer(model_factory.Rng(0, "a"), dims),
        model_factory.vace(model_factory.Rng(0, "b"), dims),
    )
    shapes = [{k: tuple(t.shape) for k, t in to_diffusers_transformer(s).items()} for s in (backbone, vace)]
    return shapes[0], shapes[1]


def check(
    models: tuple[Shapes, Shapes], path: Path, tensors: dict[str, torch.Tensor], *, vace: bool = False
) -> tuple[LoraLayout, list[str]]:
    """Return the layout of the usable parts, and the warnings."""
    events: list[Event] = []
    write(path, tensors)
    (layout,) = check_loras([path], models[0], models[1] if vace else None, "base.pt", events.append)
    return layout, [event.message for event in events if isinstance(event, Warned)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "style.safetensors"


def test_everything_fits(models: tuple[Shapes, Shapes], file: Path) -> None:
    tensors = pair(Q) | pair(VACE_Q) | pair("diffusion_model.head.head", out=64) | pair("text_embedding.0", inp=4096)
    layout, warnings = check(models, file, tensors, vace=True)
    assert len(layout.pairs) == 4 and not warnings


@pytest.mark.parametrize(
    ("tensors", "sizes"),
    [
        (
            pair(Q, out=5120, inp=5120),
            r"is [256, 256] in base.pt, the LoRA has A [4, 5120] and B [5120, 4]; that is Wan 14B",
        ),
        (pair(Q, out=1536, inp=1536), "that is Wan 1.3B"),
        (pair(Q, out=3072, inp=3072), "that is Wan2.2 5B"),
        (pair(Q, inp=WIDTH + 1), "the LoRA has A [4, 257] and B [256, 4]"),
        (pair(Q, out=WIDTH + 1), "the LoRA has A [4, 256] and B [257, 4]"),
        (
            pair(Q) | {f"{Q}.diff_b": torch.ones(5120)},
            "blocks.0.attn1.to_q.bias is [256] in base.pt, the LoRA has [5120]",
        ),
        (pair(Q) | {f"{Q}.lora_B.bias": torch.ones(7)}, "self_attn.q.lora_B.bias is [7]"),
        (pair(Q, out=5120, inp=5120) | pair("blocks.30.ffn.0") | pair("blocks.31.ffn.0"), "that is Wan 14B"),
        (pair("patch_embedding", inp=36), "patch_embedding is [256, 16, 1, 2, 2] in base.pt, the LoRA has A [4, 36]"),
    ],
)
def test_a_lora_for_another_model_is_refused(
    models: tuple[Shapes, Shapes], file: Path, tensors: dict[str, torch.Tensor], sizes: str
) -> None:
    with pytest.raises(JobError) as caught:
        check(models, file, tensors)
    (line,) = caught.value.problems
    assert line.startswith(f"{file}: made for another model: ") and sizes in line


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (pair(VACE_Q), "1 for VACE, which the job does not use (vace_blocks.1.attn1.to_q)"),
        (pair(I2V_K), "1 for image-to-video models (blocks.0.attn2.add_k_proj)"),
        (
            pair("img_emb.proj.1", inp=1280),
            "1 for image-to-video models (condition_embedder.image_embedder.ff",
        ),
        (pair("blocks.9.ffn.0", out=FFN), "1 not in base.pt (blocks.9.ffn.net.0.proj)"),
        ({"lora_te_x.alpha": torch.ones(1)}, "1 unknown (lora_te_x.alpha)"),
        ({"blocks.1.ffn.0.alpha": torch.ones(1)}, "1 unknown (blocks.1.ffn.0.alpha)"),
    ],
)
def test_parts_that_the_model_does_not_have_are_left_out(
    models: tuple[Shapes, Shapes], file: Path, extra: dict[str, torch.Tensor], reason: str
) -> None:
    layout, (warning,) = check(models, file, pair(Q) | extra)
    assert set(layout.pairs) == {"blocks.0.attn1.to_q"}
    assert warning.startswith("style.safetensors: parts left out: 1 ") and reason in warning


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (pair(VACE_Q), "none of its parts can be used: 1 for VACE, which the job does not use"),
        (pair(I2V_K), "none of its parts can be used: 1 for image-to-video models"),
        (pair("blocks.9.ffn.0") | pair("blocks.8.ffn.0") | pair(Q), "2 of 3 LoRA modules are not in base.pt"),
    ],
)
def test_a_lora_with_too_few_usable_modules_is_refused(
    models: tuple[Shapes, Shapes], file: Path, tensors: dict[str, torch.Tensor], reason: str
) -> None:
    with pytest.raises(JobError) as caught:
        check(models, file, tensors)
    assert reason in str(caught.value)


def test_one_line_for_each_bad_file(models: tuple[Shapes, Shapes], tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{i}.safetensors", pair(Q, out=i)) for i in (3, WIDTH, 5)]
    with pytest.raises(JobError) as caught:
        check_loras(paths, *models, "base.pt")
    assert [line.split(":")[0] for line in caught.value.problems] == [str(paths[0]), str(paths[2])]


def test_missing_file(models: tuple[Shapes, Shapes], tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        check_loras([tmp_path / "none.safetensors"], *models, "base.pt")
