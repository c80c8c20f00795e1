"""Finds the block of a timeline that is shown at each time.

It is the first block in the list with start <= t <= end; in a gap the block before it is still shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush
from itertools import pairwise

from scope_batch.importing.notes import ImportNotes
from scope_batch.importing.reading import Block
from scope_batch.plan.entries import frame_at

DIGITS = 9
"""Decimals to which seconds are rounded; smaller differences are floating-point error."""


@dataclass(frozen=True, slots=True)
class Change:
    """`block` is shown from `time_s` on."""

    time_s: float
    block: Block


def visible_changes(blocks: Sequence[Block], fps: Fraction, num_frames: int, notes: ImportNotes) -> list[Change]:
    """Return the changes that a job of `num_frames` frames shows, in order. Blocks that are never shown are noted."""
    spans = list(_spans(blocks))
    _note_covered(blocks, spans, notes)
    changes: list[Change] = []
    for start, _, index in spans:
        if not changes or changes[-1].block is not blocks[index]:
            changes.append(Change(round(start, DIGITS), blocks[index]))
    frames = [*(frame_at(change.time_s, fps) for change in changes), num_frames]
    visible = []
    for change, (frame, next_frame) in zip(changes, pairwise(frames), strict=True):
        if frame < min(next_frame, num_frames):
            visible.append(change)
        else:
            notes.left_out(change.block.place, change.block.prompts[0][0], "it is too short to be shown in any frame")
    return visible


def _spans(blocks: Sequence[Block]) -> Iterator[tuple[float, float, int]]:
    """Yield (start_s, end_s, index of the shown block) in order of time, without gaps between blocks."""
    edges = sorted({edge for block in blocks for edge in (max(block.start_s, 0.0), block.end_s) if edge >= 0})
    waiting = sorted(range(len(blocks)), key=lambda index: -blocks[index].start_s)
    active: list[int] = []
    for left, right in pairwise(edges):
        while waiting and blocks[waiting[-1]].start_s <= left:
            heappush(active, waiting.pop())
        while active and blocks[active[0]].end_s <= left:
            heappop(active)
        if active:
            yield left, right, active[0]


def _note_covered(blocks: Sequence[Block], spans: Sequence[tuple[float, float, int]], notes: ImportNotes) -> None:
    """Note the blocks that are hidden, partly or entirely, by blocks listed before them."""
    shown_s = [0.0] * len(blocks)
    for start, end, index in spans:
        shown_s[index] += end - start
    for block, seen_s in zip(blocks, shown_s, strict=True):
        length = block.end_s - max(block.start_s, 0.0)
        if seen_s > 0 and length - seen_s > 10**-DIGITS:
            notes.assumed(
                block.place, f"shown for {seen_s:.6g} of its {length:.6g} s; a block listed before it covers the rest"
            )
        elif seen_s == 0:
            times = [block.start_s, block.end_s]
            notes.left_out(block.place, times, "covered by blocks listed before it" if length > 0 else "has no length")
