"""The model of the processor `depth`, on small networks of random weights in the published layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

from scope_batch.core.processor_model import ProcessorRequest
from scope_batch.engine.depth import DepthModel, load
from scope_batch.errors import JobError, UnavailableError
from scope_batch.processors.contract_check import moving_frames
from scope_batch.processors.depth import DEPTH, REPO


def write_network(folder: Path, patch: int = 14, short_side: int = 56) -> Path:
    """Save a network of random weights below the models folder `folder`; returns its own folder."""
    torch.manual_seed(0)
    backbone = Dinov2Config(
        hidden_size=8,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=short_side,
        patch_size=patch,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=patch,
        reassemble_hidden_size=8,
        neck_hidden_sizes=[4, 4, 4, 4],
        fusion_hidden_size=4,
        head_hidden_size=4,
    )
    network = DepthAnythingForDepthEstimation(config)
    torch.nn.init.constant_(network.head.conv3.bias, 1.0)
    target = folder / REPO.split("/")[1]
    network.save_pretrained(target)
    return target


def request_of(folder: Path) -> ProcessorRequest:
    assert DEPTH.model is not None
    return ProcessorRequest("depth", DEPTH.model.files, str(folder), "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_network(folder)
    return folder


def test_every_pixel_gets_the_nearness_that_the_network_of_transformers_gives_it(folder: Path) -> None:
    frame = moving_frames(1, 56, 84)[0]
    model = load(request_of(folder))
    network = DepthAnythingForDepthEstimation.from_pretrained(folder / REPO.split("/")[1], local_files_only=True)
    pixels = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
    pixels -= torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    pixels /= torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.inference_mode():
        expected = network(pixels).predicted_depth[0].numpy()
    assert expected.shape == (56, 84) and np.allclose(model(frame), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("size", "seen"), [((480, 832), (56, 98)), ((832, 480), (98, 56)), ((64, 64), (56, 56)), ((56, 100), (56, 98))]
)
def test_the_network_sees_its_own_short_side_in_whole_patches(
    folder: Path, size: tuple[int, int], seen: tuple[int, int]
) -> None:
    model = load(request_of(folder))
    assert model.input_size(*size) == seen
    assert model(np.zeros((*size, 3), np.uint8)).shape == size


def test_a_missing_file_is_named_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(
        UnavailableError, match=r"depth: model files missing in .*Depth-Anything-V2-Small-hf/config.json"
    ):
        load(request_of(tmp_path))
    with pytest.raises(UnavailableError, match=r"scope-batch models pull depth --models \S+$"):
        load(request_of(tmp_path))


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    weights = write_network(tmp_path) / "model.safetensors"
    state = load_file(weights)
    state.pop("head.conv1.weight")
    save_file(state, weights, {"format": "pt"})
    with pytest.raises(JobError, match=r"model.safetensors: keys are missing .*head\.conv1\.weight"):
        load(request_of(tmp_path))
    weights.write_bytes(b"no tensors")
    with pytest.raises(JobError, match=r"model.safetensors: cannot be read as a DepthAnything model"):
        load(request_of(tmp_path))


def test_values_that_are_no_numbers_end_the_render(folder: Path) -> None:
    model = load(request_of(folder))
    torch.nn.init.constant_(model.network.head.conv3.bias, torch.inf)
    with pytest.raises(JobError, match="NaN or Inf"):
        DepthModel(model.network, model.device)(moving_frames(1)[0])
