"""What a change of a job does to a real render is caught at the frame where it begins to act."""

from __future__ import annotations

from pathlib import Path

import pytest

from scope_batch.golden.golden import Verification, bless, verify
from scope_batch.job import Job, load_text
from scope_batch.render.engine_pool import Engines
from scope_batch.render.options import RenderOptions

LORA = Path(__file__).parents[1] / "analytic_models" / "tint.safetensors"
JOB = f"""
models: tiny
prompt: a hot air balloon at sunrise
num_frames: 50
height: 64
width: 64
lora_merge: never
lora_scales: {{{LORA}: 0.5}}
chunk_specs: [{{chunk: 4, text: a stormy sea}}]
"""
OPTIONS = RenderOptions(device="cpu", deterministic=True)


def job_with(*overrides: str) -> Job:
    return load_text(JOB, name="job.yaml", overrides=overrides)


@pytest.fixture(scope="module")
def engines() -> Engines:
    return Engines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, engines: Engines) -> Path:
    """The folder of the golden."""
    golden = tmp_path_factory.mktemp("golden")
    bless(job_with(), golden, OPTIONS, engines=engines)
    return golden


def frame_of(found: Verification) -> int | None:
    return None if found.verdict.finding is None else found.verdict.finding.frame


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "frame", "chunk", "field"),
    [
        ("seed=43", 0, 0, "seed"),
        ("chunk_specs.0.text=a stormy lake", 45, 4, "chunk_specs[0].text"),
        (f"lora_scales={{{LORA}: 0.51}}", 0, 0, "lora_scales.tint.safetensors"),
    ],
)
def test_a_change_is_named_with_its_frame_and_cause(
    folder: Path, engines: Engines, change: str, frame: int, chunk: int, field: str
) -> None:
    found = verify(job_with(change), folder, OPTIONS, engines=engines)
    assert (found.passed, frame_of(found), found.chunk) == (False, frame, chunk)
    assert [difference.field for difference in found.job_changes] == [field]


@pytest.mark.slow
def test_the_same_job_passes_again_and_with_an_engine_loaded_anew(folder: Path, engines: Engines) -> None:
    for used in (engines, Engines()):
        found = verify(job_with(), folder, OPTIONS, engines=used)
        assert found.passed and found.verdict.equal


@pytest.mark.slow
def test_another_rate_is_no_matter_of_a_frame(folder: Path, engines: Engines) -> None:
    found = verify(job_with("fps=24"), folder, OPTIONS, engines=engines)
    assert found.headline == "24 frames per second, the golden has 16" and found.chunk is None
