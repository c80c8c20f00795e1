"""Reads pictures as masks, and warns about masks that generate everything or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scope_batch.core.frames import GENERATE_ABOVE
from scope_batch.core.plan import Plan
from scope_batch.core.timeline import ClipSource, Placement
from scope_batch.errors import JobError
from scope_batch.media.open import open_material, picked
from scope_batch.media.planes import FloatArrayReader
from scope_batch.media.source import Frame

MASK_LEVEL = 127
"""A pixel whose channels' mean is above this is 1: generate."""
WHITE = 255


def generates(frame: Frame) -> NDArray[np.uint8]:
    """Convert uint8 RGB [H, W, 3] to uint8 [H, W]: 1 = generate, 0 = keep."""
    return np.where(frame.sum(axis=-1, dtype=np.uint16) > 3 * MASK_LEVEL, np.uint8(1), np.uint8(0))


@dataclass(frozen=True, slots=True)
class _MaskContent:
    """Content of the frames read from a mask. most: largest value, 0..255 or 0..1; coloured: some pixel is not gray."""

    placement: Placement
    keeps: bool = False
    generates: bool = False
    most: float = 0
    coloured: bool = False
    floats: bool = False

    @property
    def label(self) -> str:
        return f"{self.placement.where}: {self.placement.source.path.name}"

    @property
    def dark(self) -> bool:
        """True if something is drawn but too dark to count, such as label 1 or colours of a palette."""
        return self.most > 0 and not self.generates


def mask_warnings(plan: Plan) -> list[str]:
    """Return warnings about masks that generate nothing or keep nothing. Reads each mask until it shows both.

    Raises JobError if one cannot be read.
    """
    seen: dict[ClipSource, _MaskContent] = {}
    for placement in plan.placements:
        if placement.source.kind == "masks" and placement.source not in seen:
            seen[placement.source] = _read_content(placement, plan.num_frames)
    masks = [*seen.values()]
    warnings = [_dark(mask) for mask in masks if mask.dark]
    if masks and not warnings and not any(mask.generates for mask in masks):
        warnings.append(
            f"{_labels(masks)} black throughout: all is kept and nothing generated (white = generate; invert what is "
            "meant the other way round)"
        )
    if masks and not any(mask.keeps for mask in masks):
        warnings.append(
            f"{_labels(masks)} white throughout: all is generated and nothing kept (black = keep; invert what is meant "
            "the other way round, or leave vace_masks out)"
        )
    return warnings


def _read_content(placement: Placement, num_frames: int) -> _MaskContent:
    try:
        with open_material(placement.source) as opened:
            picks = picked(opened, placement.source)
            shown = dict.fromkeys(picks[: min(placement.end_frame, num_frames) - placement.first_frame])
            if isinstance(opened, FloatArrayReader):
                return _float_content(placement, (opened.planes(index) for index in shown))
            return _picture_content(placement, (opened.frame(index) for index in shown))
    except JobError as error:
        raise JobError(*(f"{placement.where}: {line}" for line in error.problems)) from error


def _picture_content(placement: Placement, frames: Iterable[Frame]) -> _MaskContent:
    keeps = generated = coloured = False
    most = 0.0
    for frame in frames:
        mask = generates(frame)
        keeps, generated = keeps or not mask.all(), generated or bool(mask.any())
        most = max(most, float(frame.max()))
        coloured = coloured or bool((frame[..., :1] != frame).any())
        if keeps and generated:
            break
    return _MaskContent(placement, keeps, generated, most, coloured)


def _float_content(placement: Placement, frames: Iterable[NDArray[np.float32]]) -> _MaskContent:
    keeps = generated = False
    most = 0.0
    for planes in frames:
        mask = planes > GENERATE_ABOVE
        keeps, generated = keeps or not mask.all(), generated or bool(mask.any())
        most = max(most, float(planes.max()))
        if keeps and generated:
            break
    return _MaskContent(placement, keeps, generated, most, floats=True)


def _dark(mask: _MaskContent) -> str:
    if mask.floats:
        return (
            f"{mask.label} reaches no more than {mask.most:.3g}, and only above {GENERATE_ABOVE} is generated: nothing "
            "is (masks are 0 and 1, 1 = generate)"
        )
    if mask.coloured:
        advice = "its colours count by their brightness, not as labels; paint white what is to be generated"
    else:
        advice = f"write a mask of 0 and {mask.most:g} as 0 and {WHITE}, or as an array of floats of 0 and 1"
    return (
        f"{mask.label} is no brighter than {mask.most:g} of {WHITE}, and up to {MASK_LEVEL} is kept: nothing is "
        f"generated ({advice})"
    )


def _labels(masks: list[_MaskContent]) -> str:
    more = f" and {len(masks) - 1} more masks are" if len(masks) > 1 else " is"
    return f"{masks[0].label}{more}"
