from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from examples.tiny_world.scenes import Painter, scenes_of
from scope_batch.core.frames import Frames
from scope_batch.processors.contract_check import check_processor, moving_frames
from scope_batch.processors.depth import DEPTH, Depth
from scope_batch.processors.spec import ProcessorSpec


def red(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Stands in for the model: the redder, the nearer."""
    return frame[..., 0].astype(np.float32) / 10


def film(*levels: tuple[int, int]) -> Frames:
    """One frame of 2x2 pixels for each pair: the left column has the first level, the right one the second."""
    return np.stack([np.full((2, 2, 3), np.array(pair)[None, :, None], np.uint8) for pair in levels])


def test_a_frame_is_stretched_from_black_to_white() -> None:
    output = Depth(0.9, red).open(2, 2).process(film((50, 150)))
    assert output.shape == (1, 2, 2, 3) and (output[0, :, 0] == 0).all() and (output[0, :, 1] == 255).all()


def test_the_range_follows_slowly_so_that_the_picture_does_not_flicker() -> None:
    frames = film((0, 100), (0, 200), (0, 100))
    smooth, jumpy = (Depth(smoothing, red).open(2, 2).process(frames)[:, 0, 1, 0] for smoothing in (0.5, 0.0))
    assert smooth.tolist() == [255, 255, 204] and jumpy.tolist() == [255, 255, 255]


def test_a_flat_frame_is_black() -> None:
    assert not Depth(0.9, red).open(2, 2).process(film((70, 70))).any()


def test_frames_in_chunks_are_those_of_the_whole_film_and_a_restored_stream_goes_on() -> None:
    check_processor(ProcessorSpec("stand-in", "", lambda _: Depth(0.9, red)), moving_frames(20, 24, 32))
    assert check_processor(DEPTH, moving_frames(4, 48, 64)).shape == (4, 48, 64, 3)


def test_the_tiny_model_sees_a_thing_before_the_ground_and_the_ground_before_the_sky() -> None:
    painter = Painter(torch.device("cpu"))
    scenes = scenes_of([{"noun": "boat"}, {"noun": "cat", "ground": "snow"}, {"noun": "star", "light": "night"}])
    pixels, share = painter.paint(scenes, torch.full((3, 1), 5.0), 128, 224)
    frames = ((pixels[:, :, 0] + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    output = DEPTH.load({"smoothing": 0}, "tiny", "cpu").open(128, 224).process(frames)[..., 0]
    for nearness, thing in zip(output, share[:, 0, 0].numpy() > 0.9, strict=True):
        near = nearness > 200
        assert (near & thing).sum() / (near | thing).sum() > 0.7
        assert nearness[:40][~thing[:40]].mean() < 40 < 100 < nearness[-4:].mean() < 200
