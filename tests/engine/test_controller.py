import numpy as np
import pytest
from numpy.typing import NDArray

from scope_batch import laws
from scope_batch.engine.controller import NoiseController


def clip(*levels: int) -> NDArray[np.uint8]:
    return np.stack([np.full((4, 4, 3), level, np.uint8) for level in levels])


def test_a_still_clip_has_no_motion_and_black_to_white_has_all() -> None:
    assert NoiseController(3).motion(clip(*[9] * 12)) == 0
    assert NoiseController(3).motion(clip(0, 255, 0, 255)) == 1


def test_bounds_of_the_noise_scale() -> None:
    assert laws.controlled_noise_scale(0, 0.7) == pytest.approx(0.79)
    assert laws.controlled_noise_scale(1, 0.7) == pytest.approx(0.61)


def test_only_the_last_three_frames_and_their_predecessors_count() -> None:
    assert NoiseController(3).motion(clip(255, 0, 7, 7, 7, 7)) == 0
    assert NoiseController(3).motion(clip(255, 7, 7, 7)) == 1


def test_the_frame_before_the_last_three_gives_way_to_the_chunk_before() -> None:
    controller = NoiseController(3)
    controller.motion(clip(7, 7, 7, 7))
    assert controller.motion(clip(255, 7, 7, 7)) == 0
    controller.reset()
    assert controller.motion(clip(255, 7, 7, 7)) == 1


def test_motion_is_the_rms_difference_over_a_fifth() -> None:
    step = 10
    assert NoiseController(3).motion(clip(0, step, 0, step)) == pytest.approx(step / 127.5 / 0.2)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_last_chunk_may_deliver_fewer_than_four_frames(frames: int) -> None:
    controller = NoiseController(3)
    assert controller.motion(clip(*[5] * frames)) == 0
    assert controller.motion(clip(*[255] * frames)) == 1
