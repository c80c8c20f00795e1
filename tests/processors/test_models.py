"""Processors with a model: what a plan, a render and the verbs about model files know of them."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from scope_batch.doctor.model_files import check
from scope_batch.errors import UnavailableError
from scope_batch.events import ChunkDone
from scope_batch.files.cache import file_sha256
from scope_batch.models.processor_files import TINY_FOLDER
from scope_batch.plan.view.table import render_plan
from scope_batch.processors.depth import DEPTH
from scope_batch.render.engine_pool import Engines, request_of, unused_options
from scope_batch.render.fingerprint import model_files_digests, provenance_of
from scope_batch.render.options import RenderOptions
from scope_batch.sinks.metadata import MODELS_ENTRY, read_metadata
from tests.render.helpers import SLATE, TINY, Renderer, job_of, load_frames, plan_of

SHORT = {**SLATE, "num_frames": 3, "models": "tiny"}
assert DEPTH.model is not None
NEEDED = DEPTH.model.device_bytes(64, 64)


@pytest.fixture
def slate(tmp_path: Path) -> Renderer:
    return Renderer(tmp_path, Engines())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A models folder with the files of `depth` alone."""
    shutil.copytree(TINY_FOLDER, tmp_path / "models")
    return tmp_path / "models"


def test_the_forecast_of_device_memory_holds_the_models_of_processors() -> None:
    plain, deep = plan_of(TINY), plan_of(TINY, post_processor_id=["depth", "upscale", "depth"])
    assert plain.memory is not None and deep.memory is not None and deep.memory.processors > 1.9 * NEEDED
    assert deep.memory.peak - plain.memory.peak == deep.memory.processors
    console = Console(file=io.StringIO(), width=200)
    console.print(render_plan(deep))
    assert "processors" in console.file.getvalue()  # type: ignore[attr-defined]


def test_beside_a_pipeline_without_models_it_is_a_note() -> None:
    plan = plan_of(SHORT, post_processor_id="depth")
    assert [note for note in plan.notes if "processors take about 319.2 MB on the device" in note]
    assert not [note for note in plan.notes if "needs no model files" in note]
    assert [note for note in plan_of(SHORT).notes if "slate needs no model files" in note]


def test_options_of_models_reach_the_processors_of_a_pipeline_without_models() -> None:
    options = RenderOptions(models="tiny", device="cpu", dtype="float32")
    unused = [unused_options(plan_of(SHORT, post_processor_id=use), options) for use in ("depth", "gray")]
    assert [[line.split()[0] for line in lines] for lines in unused] == [
        ["--dtype"],
        ["--models", "--device", "--dtype"],
    ]


def test_a_render_loads_the_model_and_tells_in_its_metadata(slate: Renderer) -> None:
    plain = slate.frames(SHORT)
    slate(SHORT, "a.npy", "a.mp4", post_processor_id="depth")
    expected = DEPTH.load({}, "tiny", "cpu").open(64, 64).process(plain)
    assert np.array_equal(load_frames(slate.folder / "a.npy"), expected)
    assert read_metadata(slate.folder / "a.mp4")[MODELS_ENTRY]["models"].startswith("tiny")


def test_before_the_pipeline_the_model_treats_the_input(slate: Renderer) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    np.save(slate.folder / "in.npy", frames)
    np.save(slate.folder / "deep.npy", DEPTH.load({}, "tiny", "cpu").open(64, 64).process(frames))
    for output in ("video", "vace_frames"):
        steer = {"vace_use_input_video": output == "vace_frames"}
        wanted = slate.npy(SHORT, input_path=str(slate.folder / "deep.npy"), **steer)
        job = {**SHORT, "input_path": str(slate.folder / "in.npy"), "pre_processor_output": output}
        assert slate.npy(job, pre_processor_id="depth") == wanted


def test_without_its_files_nothing_is_rendered(slate: Renderer, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"depth: model files missing in .*scope-batch models pull depth"):
        slate({**SHORT, "models": str(tmp_path / "none")}, "a.npy", post_processor_id="depth")
    assert not [event for event in slate.events if isinstance(event, ChunkDone)]
    assert not (slate.folder / "a.npy").exists()


def test_its_files_count_by_content(folder: Path) -> None:
    clip = folder.parent / "in.npy"
    np.save(clip, np.zeros((3, 64, 64, 3), np.uint8))
    job = job_of(SHORT, models=str(folder), pre_processor_id="depth", input_path=str(clip))
    plan = plan_of(SHORT, models=str(folder), pre_processor_id="depth", input_path=str(clip))
    request = request_of(job, plan, RenderOptions())
    (weights,) = folder.glob("*/model.safetensors")
    digests = model_files_digests(request, plan, lambda _: None)
    assert digests["depth model.safetensors"] == file_sha256(weights)
    before = provenance_of(plan, request)
    (config,) = folder.glob("*/config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_depth": 2}))
    assert provenance_of(plan, request) != before


def test_doctor_tells_which_processors_have_their_model(folder: Path) -> None:
    def findings() -> list[tuple[str, str, str]]:
        return [(each.state, each.text, each.advice) for each in check(str(folder)) if "depth" in each.text]

    assert findings() == [("ok", "processor depth: complete", "")]
    (weights,) = folder.glob("*/model.safetensors")
    weights.unlink()
    ((state, text, advice),) = findings()
    assert (state, advice.split(" --")[0]) == ("fault", "scope-batch models pull depth")
    assert text == "processor depth: incomplete: missing Depth-Anything-V2-Small-hf/model.safetensors"
