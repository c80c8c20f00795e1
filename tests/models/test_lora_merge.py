from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel, WanVACETransformer3DModel
from torch import Tensor

from scope_batch.models import modules
from scope_batch.models.folder import find_models
from scope_batch.models.lora.header import read_lora_layout
from scope_batch.models.lora.weights import Lora, merged, read_lora, read_loras

from .helpers import CPU, longlive
from .lora_files import WIDTH, pair, random, write

load_transformer = partial(modules.load_transformer, kind=WanTransformer3DModel, dtype=torch.float32, device=CPU)
KEY = "blocks.0.attn1.to_q.weight"


def lora(path: Path, seed: int = 0, **extra: Tensor) -> Lora:
    return read_lora(read_lora_layout(write(path / f"{seed}.safetensors", pair(KEY[:-7], seed=seed) | extra)))


def delta(made: Lora) -> Tensor:
    return made.pairs[KEY[:-7]].b @ made.pairs[KEY[:-7]].a


def test_sum_is_taken_in_float32_and_rounded_once(parity_models: Path, tmp_path: Path) -> None:
    first, second = lora(tmp_path, 1), lora(tmp_path, 2)
    files = longlive(parity_models)
    bare = load_transformer(files, builtin_lora="none").get_parameter(KEY)
    built = load_transformer(files).get_parameter(KEY)
    made = load_transformer(files, dtype=torch.bfloat16, merge=[(first, 0.7), (second, -0.3)]).get_parameter(KEY)
    exact = bare.double() + (built - bare).double() + 0.7 * delta(first).double() - 0.3 * delta(second).double()
    # Rounded more than once, or A and B in bfloat16, a tenth and more would differ.
    assert (made != exact.bfloat16()).float().mean() < 1e-3


def test_scale_0_leaves_every_weight_as_it_is(parity_models: Path, tmp_path: Path) -> None:
    files, made = longlive(parity_models), lora(tmp_path, **{"blocks.0.attn1.to_q.diff_b": random(WIDTH)})
    without, with_0 = (load_transformer(files, merge=merge).state_dict() for merge in ([], [(made, 0.0)]))
    assert all(torch.equal(without[key], with_0[key]) for key in without)


def test_only_the_modules_of_the_lora_change(parity_models: Path, tmp_path: Path) -> None:
    files, made = longlive(parity_models), lora(tmp_path, **{"head.head.diff_b": random(64)})
    without, with_it = (load_transformer(files, merge=merge).state_dict() for merge in ([], [(made, 1.0)]))
    touched = {key for key in without if not torch.equal(without[key], with_it[key])}
    assert touched == {KEY, "proj_out.bias"}


def test_untouched_weights_are_not_copied(tmp_path: Path) -> None:
    weight = torch.ones(2, 2)
    made = lora(tmp_path)
    assert merged("blocks.1.attn1.to_q.weight", weight, [(made, 1.0)], CPU) is weight
    assert merged(KEY, weight, [(made, 0.0)], CPU) is weight


def test_the_files_weights_stay_as_they_are(tmp_path: Path) -> None:
    weight = torch.ones(WIDTH, WIDTH)
    assert not torch.equal(merged(KEY, weight, [(lora(tmp_path), 1.0)], CPU), weight)
    assert torch.equal(weight, torch.ones(WIDTH, WIDTH))


def test_vace_blocks_are_merged_too(parity_models: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "v.safetensors", pair("vace_blocks.1.self_attn.q") | pair("vace_blocks.0.before_proj"))
    files = find_models("longlive", str(parity_models), vae_type="lightvae", vace=True)
    (made,) = read_loras([path], files)
    vace: Any = partial(load_transformer, files, kind=WanVACETransformer3DModel)
    without, with_it = vace().state_dict(), vace(merge=[(made, 1.0)]).state_dict()
    touched = {key for key in without if not torch.equal(without[key], with_it[key])}
    assert touched == {"vace_blocks.1.attn1.to_q.weight", "vace_blocks.0.proj_in.weight"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_files_are_widened_first(tmp_path: Path, dtype: torch.dtype) -> None:
    narrow = {key: half.to(dtype) for key, half in pair(KEY[:-7]).items()}
    made = read_lora(read_lora_layout(write(tmp_path / "n.safetensors", narrow)))
    a, b = (half.float() for half in narrow.values())
    got = merged(KEY, torch.zeros(WIDTH, WIDTH, dtype=dtype), [(made, 0.3)], CPU)
    assert got.dtype == torch.float32 and torch.allclose(got, 0.3 * (b @ a), rtol=1e-6, atol=1e-8)
