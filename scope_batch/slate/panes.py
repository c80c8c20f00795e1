"""Draws thumbnails of a chunk's inputs: input, control, mask, reference, first and last image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from scope_batch.core.frames import ChunkInputs, ControlFrames
from scope_batch.core.plan import Chunk, Plan
from scope_batch.slate.boxes import Box, Layout
from scope_batch.slate.sprites import Picture
from scope_batch.slate.theme import DIM, FAINT, PANEL, font, wrap

SAMPLES = 2
"""Source pixels sampled per thumbnail pixel and axis; further pixels of a large picture are skipped."""


def pane_names(plan: Plan) -> tuple[str, ...]:
    """Return the names of inputs that occur in the plan, in the order of the panes."""
    vaces = [chunk.vace for chunk in plan.chunks if chunk.vace is not None]
    stills = {still.name for vace in vaces for still in vace.stills}
    used = {
        "input": any(chunk.mode == "video" for chunk in plan.chunks),
        "control": any(vace.has_frames for vace in vaces),
        "mask": any(placement.source.kind == "masks" for placement in plan.placements),
        "reference": any(vace.reference for vace in vaces),
        "first image": "first image" in stills,
        "last image": "last image" in stills,
    }
    return tuple(name for name, is_used in used.items() if is_used)


class Panes:
    """Draws each input in its place. Inputs that are constant over a chunk are drawn on its card."""

    def __init__(self, layout: Layout) -> None:
        self._boxes = layout.panes
        self._labels = len(self._boxes) > 1 or "input" not in self._boxes
        self._unit = layout.unit
        self._last: dict[str, tuple[NDArray[np.float32], Picture]] = {}

    def draw(self, draw: ImageDraw.ImageDraw) -> None:
        """Draw empty panes with labels."""
        face = font(12 * self._unit)
        for name, (left, top, right, bottom) in self._boxes.items():
            draw.rectangle((left, top, right - 1, bottom - 1), fill=PANEL)
            if self._labels:
                (label,) = wrap(name, face, max(right - left, 1), 1)
                draw.text((left, top - round(3 * self._unit)), label, fill=DIM, font=face, anchor="ls")

    def draw_chunk(self, card: Image.Image, chunk: Chunk, inputs: ChunkInputs) -> None:
        """Draw the inputs that are constant over a chunk, and a diagonal line in unused panes."""
        still = dict(_stills(chunk, inputs))
        moving = {"input": inputs.pixels, "control": inputs.control, "mask": inputs.control}
        for name, (left, top, right, bottom) in self._boxes.items():
            if name in still:
                card.paste(Image.fromarray(_thumbnail(still[name], self._boxes[name])), (left, top))
            elif moving.get(name) is None:
                ImageDraw.Draw(card).line((left, bottom - 1, right - 1, top), fill=FAINT)

    def put(self, picture: Picture, chunk: Chunk, inputs: ChunkInputs, index: int) -> None:
        """Draw the moving inputs of frame `index` of the chunk."""
        if inputs.pixels is not None:
            _copy(picture, self._boxes["input"], _resized(inputs.pixels[index], self._boxes["input"]))
        if inputs.control is not None:
            row = chunk.lead + index
            self._put_cached(picture, "control", inputs.control.frames[row])
            if "mask" in self._boxes:
                self._put_cached(picture, "mask", inputs.control.masks[row])

    def _put_cached(self, picture: Picture, name: str, values: NDArray[np.float32]) -> None:
        """Draw control or mask; if it has not changed, reuse the last thumbnail."""
        box = self._boxes[name]
        sampled = _sampled(values, box)
        last = self._last.get(name)
        if last is None or not np.array_equal(last[0], sampled):
            last = self._last[name] = (sampled.copy(), _resized(_to_uint8(sampled), box))
        _copy(picture, box, last[1])


def _stills(chunk: Chunk, inputs: ChunkInputs) -> Iterator[tuple[str, NDArray[np.float32]]]:
    if inputs.reference is not None:
        yield "reference", inputs.reference
    if chunk.vace is not None and inputs.control is not None:
        for still in chunk.vace.stills:
            yield still.name, _frame(inputs.control, chunk.lead + still.first)


def _frame(control: ControlFrames, row: int) -> NDArray[np.float32]:
    frame: NDArray[np.float32] = control.frames[row]
    return frame


def _thumbnail(values: NDArray[np.float32], box: Box) -> Picture:
    return _resized(_to_uint8(_sampled(values, box)), box)


def _sampled(values: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """Return a view of every n-th row and column."""
    left, top, right, bottom = box
    rows = max(values.shape[0] // (SAMPLES * (bottom - top)), 1)
    columns = max(values.shape[1] // (SAMPLES * (right - left)), 1)
    return values[::rows, ::columns]


def _to_uint8(values: NDArray[np.float32]) -> Picture:
    """Convert pictures in -1..1, or masks (two axes) in 0..1, to uint8 [H, W, 3]."""
    scaled = (values + 1) * 127.5 if values.ndim == 3 else np.repeat(values[..., None] * 255, 3, axis=2)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _resized(pixels: Picture, box: Box) -> Picture:
    left, top, right, bottom = box
    size = (right - left, bottom - top)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0))


def _copy(picture: Picture, box: Box, thumbnail: Picture) -> None:
    left, top, right, bottom = box
    target = picture[top:bottom, left:right]
    target[:] = thumbnail[: target.shape[0], : target.shape[1]]
