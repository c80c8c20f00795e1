"""The model or its device fails in the middle of a render."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scope_batch.engine import loader as engine
from scope_batch.engine import session
from scope_batch.engine.session import CausalSession
from scope_batch.errors import JobError, ScopeBatchError, TemporaryError, UnavailableError
from scope_batch.events import Finished
from scope_batch.models.tiny.build import tiny_models_folder
from scope_batch.render.engine_pool import Engines
from scope_batch.render.options import RenderOptions
from tests.render.helpers import TINY, Renderer, load_frames, names_in

PASSES_PER_CHUNK = 5
"""Four denoising steps and the pass that remembers."""


def fails(render: Renderer, kind: type[ScopeBatchError], line: str, **options: Any) -> None:
    with pytest.raises(kind, match=line):
        render(TINY, "out.npy", "out.mp4", num_frames=45, options=RenderOptions(**options))
    last = render.events[-1]
    assert isinstance(last, Finished) and last.outcome == "failed"
    assert [event for event in render.events if isinstance(event, Finished)] == [last]
    assert not names_in(render.folder) & {"out.npy", "out.mp4", "out.npy.part", "out.mp4.part"}


@pytest.fixture
def nan_in_chunk(monkeypatch: pytest.MonkeyPatch) -> Any:
    """nan_in_chunk(n): the sampler makes one NaN at the end of chunk n."""

    def arrange(chunk: int) -> None:
        steps = iter(range(1_000))
        clean = session.to_x0_

        def poisoned(latents: Tensor, *args: Any) -> None:
            clean(latents, *args)
            if next(steps) == 4 * chunk + 3:
                latents[0, 0, 0, 0, 0] = torch.nan

        monkeypatch.setattr(session, "to_x0_", poisoned)

    return arrange


@pytest.mark.parametrize("chunk", [0, 2])
def test_nan_names_the_chunk(tiny: Renderer, nan_in_chunk: Any, chunk: int) -> None:
    nan_in_chunk(chunk)
    fails(tiny, JobError, f"^chunk {chunk}: the model produced NaN")
    kept = {"out.partial.npy", "out.partial.npy.json", "out.partial.mp4"} if chunk else set()
    assert names_in(tiny.folder) == kept
    if chunk:
        assert len(load_frames(tiny.folder / "out.partial.npy")) == 21


def test_nan_is_noticed_in_the_last_chunk_too(tiny: Renderer, nan_in_chunk: Any) -> None:
    nan_in_chunk(3)
    fails(tiny, JobError, "^chunk 3: ")


def test_a_checkpoint_with_nan(tiny: Renderer) -> None:
    folder = tiny.folder / "models"
    shutil.copytree(tiny_models_folder(), folder)
    path = folder / "LongLive-1.3B/models/longlive_base.pt"
    state = torch.load(path, weights_only=True)
    state["generator"]["model.head.head.bias"].fill_(torch.nan)
    torch.save(state, path)
    shutil.move(folder / "Autoencoders/lightvaew2_1.pth", folder / "Wan2.1-T2V-1.3B/Wan2.1_VAE.pth")
    fails(tiny, JobError, "^chunk 0: ", models=str(folder))


@pytest.fixture
def memory_ends_in_chunk(monkeypatch: pytest.MonkeyPatch) -> Any:
    def arrange(chunk: int) -> None:
        passes = iter(range(1_000))
        forward = CausalSession._forward

        def full(self: CausalSession, *args: Any, **kwargs: Any) -> Tensor | None:
            if next(passes) == PASSES_PER_CHUNK * chunk + 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore\nlines")
            return forward(self, *args, **kwargs)

        monkeypatch.setattr(CausalSession, "_forward", full)

    return arrange


def test_too_little_device_memory_from_the_start(tiny: Renderer, memory_ends_in_chunk: Any) -> None:
    memory_ends_in_chunk(0)
    fails(tiny, UnavailableError, "^chunk 0: out of device memory: .*smaller height and width need less")
    assert names_in(tiny.folder) == set()


def test_too_little_device_memory_later(tiny: Renderer, memory_ends_in_chunk: Any) -> None:
    memory_ends_in_chunk(2)
    fails(tiny, TemporaryError, "^chunk 2: out of device memory: ")
    assert len(load_frames(tiny.folder / "out.partial.npy")) == 21


@pytest.mark.parametrize("place", [(engine, "load_transformer"), (engine, "load_vae"), (engine, "CausalSession")])
def test_too_little_device_memory_for_the_model_or_its_caches(
    tiny: Renderer, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")

    monkeypatch.setattr(*place, full)
    with pytest.raises(UnavailableError, match=r"^(loading|chunk 0): out of device memory: "):
        Renderer(tiny.folder, Engines())(TINY, "out.npy", num_frames=9)
    assert names_in(tiny.folder) == set()


def test_the_engine_goes_on_after_it(
    tiny: Renderer, memory_ends_in_chunk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_ends_in_chunk(1)
    fails(tiny, TemporaryError, "^chunk 1")
    monkeypatch.undo()
    after = tiny.npy(TINY, num_frames=25)
    assert after == tiny.npy(TINY, num_frames=25)
    assert names_in(tiny.folder) == {"out.npy", "out.npy.json", "out.partial.mp4"}


def test_no_device(tmp_path: Path, tiny: Renderer) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UnavailableError, match=r"--device cuda:0: this machine has no CUDA device"):
        tiny(TINY, "out.npy", options=RenderOptions(device="cuda:0"))
    assert names_in(tmp_path) == set()
