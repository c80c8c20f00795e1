from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from scope_batch.errors import JobError
from scope_batch.events import Event
from scope_batch.models.folder import ModelFiles, find_models
from scope_batch.models.modules import load_vae
from scope_batch.models.tae import TaeConfig, TinyAutoencoder

from .helpers import CPU

SHAPES = Path(__file__).parents[1] / "parity" / "shapes.json"


@pytest.fixture(scope="module")
def tiny() -> ModelFiles:
    return find_models("longlive", "tiny", vae_type="tae")


def changed(files: ModelFiles, folder: Path, **tensors: torch.Tensor | None) -> ModelFiles:
    """Return the files with a VAE in which these tensors are replaced (None = removed); `_` in a name is a dot."""
    state: dict[str, Any] = torch.load(files.vae, weights_only=True)
    state |= {name.replace("_", "."): tensor for name, tensor in tensors.items()}
    torch.save({name: tensor for name, tensor in state.items() if tensor is not None}, folder / "tae.pth")
    return replace(files, vae=folder / "tae.pth")


def load(files: ModelFiles, heard: list[Event] | None = None) -> TinyAutoencoder:
    module = load_vae(files, dtype=torch.bfloat16, device=CPU, report=[].append if heard is None else heard.append)
    assert isinstance(module, TinyAutoencoder)
    return module


def test_keys_and_shapes_are_those_of_the_published_files() -> None:
    with torch.device("meta"):
        state = TinyAutoencoder(TaeConfig()).state_dict()
    assert {key: list(tensor.shape) for key, tensor in state.items()} == json.loads(SHAPES.read_text())["tae"]


def test_the_widths_are_read_from_the_file(tiny: ModelFiles) -> None:
    module = load(tiny)
    assert (module.dtype, module.device) == (torch.bfloat16, CPU)
    stored = torch.load(tiny.vae, weights_only=True)
    assert all(torch.equal(tensor, stored[key].bfloat16()) for key, tensor in module.state_dict().items())


def test_of_more_channels_than_are_needed_the_last_ones_count(tiny: ModelFiles, tmp_path: Path) -> None:
    stored = torch.load(tiny.vae, weights_only=True)["decoder.7.conv.weight"]
    module = load(changed(tiny, tmp_path, decoder_7_conv_weight=torch.cat([stored + 1, stored])))
    assert torch.equal(module.decoder[7].conv.weight, stored.bfloat16())


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"encoder_9_conv_2_bias": None}, r"1 of \d+ tensors of the tiny auto-encoder are missing: encoder.9"),
        ({"decoder_13_conv_weight": torch.zeros(3, 16, 1, 1)}, "decoder.13.conv.weight is .3, 16, 1, 1., not .32, 16"),
        ({"decoder_13_conv_weight": torch.zeros(())}, "decoder.13.conv.weight is .., not .32, 16, 1, 1."),
        ({"decoder_1_weight": None}, "not a tiny auto-encoder: decoder.1.weight is missing"),
        ({"decoder_1_weight": torch.zeros(16, 4, 3, 3)}, "made for latents of 4 channels, not 16"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused(
    tiny: ModelFiles, tmp_path: Path, tensors: dict[str, torch.Tensor | None], message: str
) -> None:
    with pytest.raises(JobError, match=f"{tmp_path / 'tae.pth'}: .*{message}"):
        load(changed(tiny, tmp_path, **tensors))


def test_the_file_of_another_vae_is_refused(tiny: ModelFiles) -> None:
    with pytest.raises(JobError, match="not a tiny auto-encoder"):
        load(replace(tiny, vae=find_models("longlive", "tiny").vae))
    with pytest.raises(JobError, match="not a Wan VAE"):
        load_vae(replace(tiny, vae_type="wan"), dtype=torch.float32, device=CPU)


def test_extra_tensors_of_a_file_are_dropped_with_a_warning(tiny: ModelFiles, tmp_path: Path) -> None:
    heard: list[Event] = []
    load(changed(tiny, tmp_path, extra=torch.zeros(1)), heard)
    assert "1 keys that the tiny auto-encoder does not have are left out: extra" in str(heard)


@pytest.mark.parametrize("vae_type", ["tae", "lighttae"])
def test_the_tiny_ones_give_a_picture_back(vae_type: str) -> None:
    """Compare with the input, as exactly as a few latent cells allow."""
    module = load_vae(find_models("longlive", "tiny", vae_type=vae_type), dtype=torch.float32, device=CPU)  # type: ignore[arg-type]
    colour = torch.tensor([0.7, 0.5, 0.4]).view(1, 3, 1, 1)
    latents = module.encode(colour.expand(24, 3, 32, 32), [None] * 9)
    shown = module.decode(latents, [None] * 9)[-1, :, 16, 16]
    assert (shown - colour.flatten()).abs().max() < 0.05
