from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from scope_batch.processors.flow import FLOW, coloured
from scope_batch.processors.interpolate import INTERPOLATE, between
from scope_batch.processors.motion import estimate


def ball(x: float, y: float = 40, ground: int = 90) -> NDArray[np.uint8]:
    """A soft red ball of radius 14 at (x, y) on 80x128 pixels of one gray."""
    rows, columns = np.mgrid[:80, :128]
    share = np.clip(14.5 - np.hypot(columns - x, rows - y), 0, 1)[..., None]
    return np.rint(ground + share * (np.array([230, 60, 40]) - ground)).astype(np.uint8)


def error(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Mean square difference in levels."""
    return float(np.square(first.astype(float) - second).mean())


@pytest.mark.parametrize(("right", "down"), [(6, 0), (-6, 0), (0, 4), (3, -5)])
def test_the_motion_of_a_ball_is_found_and_its_ground_stays(right: int, down: int) -> None:
    motion = estimate(ball(64), ball(64 + right, 40 + down), 0.0)
    rim = np.abs(np.hypot(*np.mgrid[-40:40, -64:64]) - 14) < 2
    assert np.allclose(motion.pixels[:, rim].mean(axis=1), (right, down), atol=1)
    assert np.abs(motion.pixels[:, :, :24]).max() < 0.1
    assert motion.same_scene


@pytest.mark.parametrize("at", [0.25, 0.5, 0.75])
def test_a_frame_between_two_shows_the_ball_halfway(at: float) -> None:
    before, after, truth = ball(50), ball(62), ball(50 + 12 * at)
    mixed = np.rint((1 - at) * before + at * after).astype(np.uint8)
    assert error(between(before, after, at), truth) < error(mixed, truth) / 20


def test_between_two_scenes_the_nearer_frame_is_shown() -> None:
    before, after = ball(30, ground=10), ball(90, ground=250)
    assert [between(before, after, at) is before for at in (0.25, 0.5, 0.75)] == [True, True, False]


def test_two_frames_that_are_equal_have_equal_frames_between_them() -> None:
    assert np.array_equal(between(ball(50), ball(50), 0.5), ball(50))


@pytest.mark.parametrize(
    ("factor", "frames", "delivered"), [(2, 25, 50), (8, 3, 24), (1.5, 33, 50), (1.875, 16, 30), (2.5, 1, 3)]
)
def test_the_number_of_frames_is_the_factor_times_as_many_rounded_up(
    factor: float, frames: int, delivered: int
) -> None:
    processor = INTERPOLATE.build({"factor": factor})
    film = np.stack([ball(30 + index)[::4, ::4] for index in range(frames)])
    stream = processor.open(20, 32)
    output = np.concatenate([stream.process(film), stream.flush()])
    assert len(output) == processor.frames_out(frames) == delivered
    assert processor.fps_factor == factor
    whole = [number for number in range(delivered) if (number / factor).is_integer() and number / factor < frames]
    assert np.array_equal(output[whole], film[[int(number / factor) for number in whole]])
    assert np.array_equal(output[-1], film[-1])


def test_flow_draws_the_direction_as_a_hue_and_the_speed_as_saturation() -> None:
    directions = np.array([[[4, 0, -4, 0, 2, 99]], [[0, 4, 0, -4, 0, 0]]], np.float32)
    right, down, left, up, slow, fast = coloured(directions, 4)[0].tolist()
    assert right == fast == [255, 0, 0] and slow == [255, 128, 128]
    assert (down, left, up) == ([255, 234, 0], [0, 197, 255], [103, 0, 255])


def test_flow_of_frame_i_shows_the_motion_to_it_and_frame_0_that_from_it() -> None:
    film = np.stack([ball(40), ball(46), ball(46), ball(40)])
    first, second, still, back = FLOW.build({}).open(80, 128).process(film)
    assert first[40, 52, 0] == second[40, 58, 0] == 255 > first[40, 52, 2] + 100
    assert (still == 255).all() and back[40, 28, 0] < 150


def test_a_single_frame_and_a_change_of_scene_have_no_flow() -> None:
    stream = FLOW.build({}).open(80, 128)
    assert len(stream.process(ball(40)[None])) == 0
    assert (stream.flush() == 255).all()
    stream = FLOW.build({}).open(80, 128)
    assert (stream.process(np.stack([ball(30, ground=10), ball(90, ground=250)])) == 255).all()
