from __future__ import annotations

import numpy as np
import pytest

from scope_batch.processors import PROCESSORS
from scope_batch.processors.builtin import edges, gray
from scope_batch.processors.contract_check import check_processor, moving_frames


@pytest.mark.parametrize("name", [name for name in PROCESSORS.ids() if PROCESSORS.get(name).model is None])
def test_frames_in_chunks_are_those_of_the_whole_film_and_a_restored_stream_goes_on(name: str) -> None:
    spec = PROCESSORS.get(name)
    output = check_processor(spec, moving_frames(16, 24, 24))
    assert len(output) == spec.build({}).frames_out(16)


def test_passthrough_changes_nothing() -> None:
    assert np.array_equal(check_processor(PROCESSORS.get("passthrough")), moving_frames())


def test_gray_is_bt601_rounded_for_colours_all_over_the_cube() -> None:
    levels = np.arange(0, 256, 5)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, len(levels), 3)
    expected = np.floor((colours @ [299, 587, 114]) / 1000 + 0.5)
    output = gray(colours.astype(np.uint8))
    assert all(np.array_equal(output[..., channel], expected) for channel in range(3))


def test_an_edge_is_as_bright_as_its_step_is_high() -> None:
    frames = np.full((1, 8, 8, 3), 40, np.uint8)
    frames[:, :, 4:] = 100
    (output,) = edges(frames, 1.0)
    assert (output[:, 3:5] == 60).all() and not output[:, :3].any() and not output[:, 5:].any()
    assert (edges(frames.swapaxes(1, 2), 1.0)[0] == output.swapaxes(0, 1)).all()
    assert edges(frames, 2.0).max() == 120 and edges(frames, 16.0).max() == 255


def test_an_edge_does_not_change_with_the_rest_of_its_frame() -> None:
    frames = moving_frames(2)
    lit = frames.copy()
    lit[:, 24:] = 255
    assert np.array_equal(edges(lit, 2.0)[:, :22], edges(frames, 2.0)[:, :22])


def test_the_strength_is_a_parameter() -> None:
    spec = PROCESSORS.get("edges")
    assert check_processor(spec, strength=8).mean() > 2 * check_processor(spec).mean()
