"""Tests a golden and its thresholds with films that have a known fault: each of them must fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from scope_batch.golden.folder import Blessed
from scope_batch.golden.frame_hashes import frame_sha256
from scope_batch.golden.record import Record
from scope_batch.golden.thresholds import Thresholds
from scope_batch.golden.verdict import Tier, judge
from scope_batch.media.source import Frame


@dataclass(frozen=True, slots=True)
class Trial:
    """A film with a fault, judged by the thresholds of a tier. noticed: it failed, as it must."""

    tier: Tier
    fault: str
    noticed: bool


def try_faults(golden: Blessed, thresholds: dict[Tier, Thresholds]) -> Iterator[Trial]:
    """Yield a trial for every fault and tier.

    One level in one frame must be noticed on the blessed machine and on others; encoded films are not held to that.
    """
    good = golden.record
    for tier in ("exact", "other_machine", "encoded"):
        for fault, film in _faulty_films(good):
            if tier != "encoded" or "level" not in fault:
                yield Trial(tier, fault, not judge(good, film, tier, thresholds[tier]).passed)


def _faulty_films(good: Record) -> Iterator[tuple[str, Record]]:
    if good.count > 1:
        one, other = _most_unlike(good)
        yield f"frames {one} and {other} exchanged", _reordered(good, _exchanged(good.count, one, other))
        yield "every frame one late", _reordered(good, [0, *range(good.count - 1)])
        yield "last frame missing", _reordered(good, list(range(good.count - 1)))
    for index in sorted(good.pictures)[:1]:
        yield f"frame {index} one level off", _disturbed(good, index)


def _most_unlike(good: Record) -> tuple[int, int]:
    """The frame that is least like the first one, and the first one."""
    first = good.thumbnails[0].astype(np.float32)
    distances = [float(np.abs(thumbnail - first).mean()) for thumbnail in good.thumbnails]
    return 0, max(int(np.argmax(distances)), 1)


def _exchanged(count: int, one: int, other: int) -> list[int]:
    order = list(range(count))
    order[one], order[other] = other, one
    return order


def _reordered(good: Record, order: list[int]) -> Record:
    pictures = {place: good.pictures[index] for place, index in enumerate(order) if index in good.pictures}
    hashes = tuple(good.frames.hashes[index] for index in order)
    thumbnails = tuple(good.thumbnails[index] for index in order)
    return Record(replace(good.frames, hashes=hashes), thumbnails, pictures)


def _disturbed(good: Record, index: int) -> Record:
    picture, thumbnail = _moved(good.pictures[index]), _moved(good.thumbnails[index])
    hashes = list(good.frames.hashes)
    hashes[index] = frame_sha256(picture)
    thumbnails = list(good.thumbnails)
    thumbnails[index] = thumbnail
    frames = replace(good.frames, hashes=tuple(hashes))
    return Record(frames, tuple(thumbnails), {**good.pictures, index: picture})


def _moved(frame: Frame) -> Frame:
    """Every value one level up; 255 one level down."""
    return np.where(frame == 255, 254, frame + (frame < 255)).astype(np.uint8)
