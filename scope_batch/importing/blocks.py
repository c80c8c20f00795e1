"""Which block is on at which time: the first in the list with start <= t <= end; between blocks the last one stays."""

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
"""Decimals of a second that are kept: less than that is dust of floating point."""


@dataclass(frozen=True, slots=True)
class Change:
    """From `time_s` on `block` is on."""

    time_s: float
    block: Block


def changes(blocks: Sequence[Block], fps: Fraction, num_frames: int, told: ImportNotes) -> list[Change]:
    """The changes that a job of `num_frames` frames shows, in order; blocks that nobody sees are told."""
    spans = list(_spans(blocks))
    _tell_covered(blocks, spans, told)
    found: list[Change] = []
    for start, _, index in spans:
        if not found or found[-1].block is not blocks[index]:
            found.append(Change(round(start, DIGITS), blocks[index]))
    frames = [*(frame_at(change.time_s, fps) for change in found), num_frames]
    seen = []
    for change, (frame, following) in zip(found, pairwise(frames), strict=True):
        if frame < min(following, num_frames):
            seen.append(change)
        else:
            told.left_out(change.block.place, change.block.prompts[0][0], "no frame shows it, it is too short")
    return seen


def _spans(blocks: Sequence[Block]) -> Iterator[tuple[float, float, int]]:
    """(start, end, index of the block that is on), in order of time, gaps left out."""
    edges = sorted({edge for block in blocks for edge in (max(block.start_s, 0.0), block.end_s) if edge >= 0})
    waiting = sorted(range(len(blocks)), key=lambda index: -blocks[index].start_s)
    begun: list[int] = []
    for left, right in pairwise(edges):
        while waiting and blocks[waiting[-1]].start_s <= left:
            heappush(begun, waiting.pop())
        while begun and blocks[begun[0]].end_s <= left:
            heappop(begun)
        if begun:
            yield left, right, begun[0]


def _tell_covered(blocks: Sequence[Block], spans: Sequence[tuple[float, float, int]], told: ImportNotes) -> None:
    on = [0.0] * len(blocks)
    for start, end, index in spans:
        on[index] += end - start
    for block, seen_s in zip(blocks, on, strict=True):
        length = block.end_s - max(block.start_s, 0.0)
        if seen_s > 0 and length - seen_s > 10**-DIGITS:
            told.assumed(
                block.place, f"on for {seen_s:.6g} of its {length:.6g} s, a block listed before it for the rest"
            )
        elif seen_s == 0:
            times = [block.start_s, block.end_s]
            told.left_out(block.place, times, "covered by blocks listed before it" if length > 0 else "has no length")
