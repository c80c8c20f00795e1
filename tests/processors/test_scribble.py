from __future__ import annotations

from typing import Any

import numpy as np

from scope_batch.core.frames import Frames
from scope_batch.processors.scribble import SCRIBBLE


def scribbled(frames: Frames, **parameters: Any) -> Frames:
    return SCRIBBLE.build(parameters).open(*frames.shape[1:3]).process(frames)


def step(levels: int) -> Frames:
    """One frame of 32x32 pixels: dark on the left of column 16, brighter on its right."""
    frames = np.full((1, 32, 32, 3), 40, np.uint8)
    frames[:, :, 16:] += np.uint8(levels)
    return frames


def test_a_step_is_one_line_of_the_given_thickness() -> None:
    for thickness in (1, 3, 4):
        (output,) = scribbled(step(100), thickness=thickness)
        assert (np.unique(output) == [0, 255]).all()
        assert ((output == 255).sum(axis=1) == thickness).all()
        assert (output[:, 15] == 255).all()


def test_a_step_below_the_contrast_is_not_drawn() -> None:
    assert scribbled(step(100), contrast=8).any() and not scribbled(step(20), contrast=8).any()


def test_a_faint_edge_is_drawn_where_it_goes_on_from_a_clear_one() -> None:
    frames = step(100)
    frames[:, :, 16:] = np.linspace(140, 85, 32).astype(np.uint8)[:, None, None]
    (output,) = scribbled(frames, contrast=22, smoothing=1)
    assert (output[28, 14:18] == 255).any()
    assert not scribbled(step(50), contrast=22, smoothing=1).any()


def test_details_within_the_smoothing_are_not_drawn() -> None:
    frames = np.full((1, 32, 32, 3), 100, np.uint8)
    frames[:, ::2] = 130
    assert not scribbled(frames, smoothing=2).any()


def test_black_lines_are_the_negative_of_white_ones() -> None:
    assert np.array_equal(scribbled(step(100), lines="black"), 255 - scribbled(step(100)))
