"""Every pipeline continues at every border of its chunks as if nothing had happened."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from scope_batch.errors import Interrupted
from scope_batch.events import ChunkDone, Event
from scope_batch.pipelines import PIPELINES
from scope_batch.render.engine_pool import Engines
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from tests.engine.small import small_engine
from tests.render.helpers import TINY, job_of, plan_of
from tests.soak.kill import Loaded, write_lora

IDS = [spec.id for spec in PIPELINES.values() if spec.needs_models]
CHUNKS = 5
CHANGES = {
    "denoising_steps": [1000, 500],
    "chunk_specs": [{"chunk": 1, "text": "a dog"}, {"chunk": 3, "text": "a bird", "transition_num_steps": 2}],
}


def one_more_chunk(path: Path, fields: dict[str, Any], engines: Engines) -> list[int]:
    """Render until one more chunk is made; the chunks that were made now."""
    made: list[int] = []
    stop = threading.Event()

    def report(event: Event) -> None:
        if isinstance(event, ChunkDone):
            made.append(event.chunk)
            if event.chunk + 1 < CHUNKS:
                stop.set()

    options = RenderOptions(outputs=(str(path),), resume=True, checkpoint_every=1)
    try:
        render_job(job_of(TINY, **fields), options=options, report=report, stop=stop, engines=engines)
    except Interrupted:
        assert not path.exists()
    return made


@pytest.mark.parametrize("mode", ["text", "video"])
@pytest.mark.parametrize("pipeline", IDS)
def test_a_render_that_stops_after_every_chunk(tmp_path: Path, clip: Path, pipeline: str, mode: str) -> None:
    fields: dict[str, Any] = {**CHANGES, "pipeline_id": pipeline}
    write_lora(tmp_path / "style.safetensors")
    fields["lora_scales"] = {str(tmp_path / "style.safetensors"): [0.0, 0.1, 0.2, 0.3, 0.4]}
    if mode == "video":
        fields["input_path"] = str(clip)
    chunks = plan_of(TINY, **fields, num_frames=99).chunks[:CHUNKS]
    fields["num_frames"] = sum(chunk.frames for chunk in chunks)
    engines = Loaded(small_engine(PIPELINES[pipeline], tiny_vae=True))
    whole, stopped, other = (tmp_path / f"{name}.npy" for name in ("whole", "stopped", "other"))
    render_job(job_of(TINY, **fields), options=RenderOptions(outputs=(str(whole),)), engines=engines)
    for index in range(CHUNKS):
        assert one_more_chunk(stopped, fields, engines) == [index]
        one_more_chunk(other, {**fields, "prompt": "something else", "seed": 7000}, engines)
    assert stopped.read_bytes() == whole.read_bytes()
