"""Processors around the engine, on tiny models; the rest is seen with the slate in tests/processors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from scope_batch.render.options import RenderOptions
from tests.processors.kinds import doubled, install
from tests.render.helpers import TINY, Renderer, load_frames


def test_post_processors_do_not_change_latents(tiny: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    latents, frames = [], []
    for name, post in (("a", []), ("b", ["double"])):
        path = tiny.folder / f"{name}.safetensors"
        tiny(TINY, f"{name}.npy", options=RenderOptions(latents=path), num_frames=10, post_processor_id=post)
        latents.append(load_file(path))
        frames.append(load_frames(tiny.folder / f"{name}.npy"))
    assert latents[0].keys() == latents[1].keys()
    assert all(np.array_equal(latents[0][key], latents[1][key]) for key in latents[0])
    assert np.array_equal(frames[1], doubled(frames[0]))


@pytest.mark.parametrize("output", ["video", "vace_frames"])
def test_edges_of_the_input_lead_the_engine(tiny: Renderer, clip: Path, output: str) -> None:
    job = {**TINY, "num_frames": 9, "input_path": str(clip), "pre_processor_output": output}
    outputs = [tiny.npy(job, pre_processor_id=name) for name in ("edges", "edges", "passthrough")]
    assert outputs[0] == outputs[1] != outputs[2]
