"""Every kind of VAE renders, in both modes and steered, through what a user types."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scope_batch.job import parse_job
from scope_batch.models.check import Checker, all_ok
from scope_batch.models.tiny.build import tiny_models_folder
from scope_batch.render.prepare import prepare_job
from tests.render.helpers import TINY, Renderer

KINDS = ("tae", "lighttae")


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_text_and_video_have_exactly_their_frames(tiny: Renderer, kind: str, clip: Path) -> None:
    text = tiny.frames(TINY, vae_type=kind, num_frames=22)
    video = tiny.frames(TINY, vae_type=kind, num_frames=20, input_path=str(clip), noise_scale=0.3)
    assert text.shape == (22, 64, 64, 3) and video.shape == (20, 64, 64, 3)
    assert min(text.std(), video.std()) > 10
    assert tiny.frames(TINY, vae_type=kind, num_frames=9).tobytes() == text[:9].tobytes()


def test_control_that_begins_late_steers_from_there(tiny: Renderer, kind: str, tmp_path: Path) -> None:
    control = np.full((12, 64, 64, 3), 128, np.uint8)
    control[:, :32] = 255
    np.save(tmp_path / "control.npy", control)
    late = {"frame": 9, "vace_frames": str(tmp_path / "control.npy")}
    plain = tiny.frames(TINY, vae_type=kind, num_frames=21)
    steered = tiny.frames(TINY, vae_type=kind, num_frames=21, chunk_specs=[late])
    assert np.array_equal(plain[:9], steered[:9]) and not np.array_equal(plain[12:], steered[12:])


def test_a_plan_notes_a_missing_forecast(kind: str) -> None:
    (note,) = prepare_job(parse_job({**TINY, "vae_type": kind, "num_frames": 9})).notes
    assert note.startswith(f"device memory is not forecast for longlive with vae_type: {kind}")


def test_the_files_of_the_tiny_set_are_sound(kind: str) -> None:
    folder = tiny_models_folder("longlive", vae_type=kind)  # type: ignore[arg-type]
    checks = Checker(folder).check("longlive", vae_type=kind)  # type: ignore[arg-type]
    assert all_ok(checks) and any(f"{kind}w2_1.pth" in str(check.path) for check in checks)
