"""The slate as an engine: sessions that draw instead of dream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scope_batch.core.frames import NO_INPUTS, ChunkInputs
from scope_batch.core.plan import Chunk, Plan
from scope_batch.plan.view import text
from scope_batch.plan.view.text import shares_of
from scope_batch.slate.boxes import Layout, make_layout
from scope_batch.slate.card import Card
from scope_batch.slate.lanes import Curves, curves_of
from scope_batch.slate.panes import Panes, pane_names
from scope_batch.slate.sprites import Picture, Sprites, fitting_sprites
from scope_batch.slate.strip import Timeline
from scope_batch.slate.theme import DIM, FAINT, INK, PANEL

if TYPE_CHECKING:
    from pathlib import Path

    from scope_batch.core.engine import ByteWriter, Engine, EngineRequest
    from scope_batch.core.frames import Frames
    from scope_batch.events import Report


def load(request: EngineRequest, report: Report) -> Engine:  # noqa: ARG001  (the signature of every loader)
    """Return the engine. Loads nothing, since a session draws from its plan alone."""
    return SlateEngine()


@dataclass(frozen=True, slots=True)
class DrawnChunk:
    picture: Frames

    def frames(self) -> Frames:
        return self.picture

    def latents(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class NoState:
    """See `scope_batch.core.engine.Snapshot`: a card is drawn from the plan alone."""

    seconds: float = 0.0

    def write(self, file: ByteWriter) -> None:
        file.write(b"none\n")


class SlateEngine:
    @contextmanager
    def session(self, plan: Plan, report: Report) -> Iterator[SlateSession]:  # noqa: ARG002  (no stages to report)
        yield SlateSession(plan)

    def peak_device_bytes(self) -> int:
        return 0


class SlateSession:
    """Draws each chunk's card once, and the changing parts on a copy for each frame."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        curves = curves_of(plan)
        self._layout = make_layout(plan.height, plan.width, pane_names(plan), len(curves))
        self._shares = shares_of(plan.chunks)
        self._timeline = Timeline(plan, self._shares, self._layout)
        self._panes = Panes(self._layout)
        self._card = Card(plan, self._layout, self._timeline, Curves(curves, self._layout, self._timeline), self._panes)
        self._number = _number_sprites(plan, self._layout)
        self._clock = Sprites(24 * self._layout.unit, DIM)

    def snapshot(self) -> NoState:
        return NoState()

    def restore_file(self, path: Path) -> None:
        """Nothing has to be restored."""

    def generate(self, chunk: Chunk, inputs: ChunkInputs = NO_INPUTS) -> DrawnChunk:
        """Draw all frames of the chunk, uint8 [T, H, W, 3], with its inputs as thumbnails."""
        card = np.asarray(self._card.draw(chunk, self._shares[chunk.index], inputs))
        frames = np.empty((chunk.frames, *card.shape), dtype=np.uint8)
        for index in range(chunk.frames):
            frames[index] = card
            self._frame(frames[index], chunk, index)
            self._panes.put(frames[index], chunk, inputs, index)
        return DrawnChunk(frames)

    def _frame(self, picture: Picture, chunk: Chunk, index: int) -> None:
        frame = chunk.first_frame + index
        left, top, _, _ = self._layout.number
        self._number.put(picture, left, top, str(frame).zfill(_digits(self._plan)))
        left, top, _, bottom = self._layout.clock
        top = max((top + bottom - self._clock.height) // 2, 0)
        self._clock.put(picture, left, top, text.clock(float(frame / self._plan.fps)))
        self._cells(picture, chunk, index)
        self._timeline.put_playhead(picture, frame)

    def _cells(self, picture: Picture, chunk: Chunk, current: int) -> None:
        """Draw one cell per frame of the chunk: done, current, to come, and (darkest) beyond the end of the job."""
        left, top, right, bottom = self._layout.cells
        edges = [left + (right - left) * i // chunk.frames for i in range(chunk.frames + 1)]
        gap = 1 if edges[1] - edges[0] > 3 else 0
        for index in range(chunk.frames):
            color = INK if index == current else PANEL if index >= chunk.keep else DIM if index < current else FAINT
            picture[top:bottom, edges[index] : edges[index + 1] - gap] = color


def _digits(plan: Plan) -> int:
    return len(str(plan.num_frames - 1))


def _number_sprites(plan: Plan, layout: Layout) -> Sprites:
    left, top, right, bottom = layout.number
    return fitting_sprites("0" * _digits(plan), max(right - left, 1), bottom - top, INK)
