"""Computes a scheduled number chunk by chunk, from left to right, while the grid of chunks is still being decided.

Between a number's key and the next one the value is linear in the chunk index, so it is known only when that key has
landed. Whether it *moves* is known at once, and that is all that can decide over a cut.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from scope_batch.job.expression import Expression
from scope_batch.job.keyframes import Keyframe
from scope_batch.job.schedule import Schedule
from scope_batch.plan.diagnostics import SHOWN, Diagnostics
from scope_batch.plan.entries import ChunkStart


@dataclass(frozen=True, slots=True)
class Clock:
    """What expressions may ask of a job. `seed`: the request's first."""

    num_frames: int
    fps: Fraction
    seed: int

    @property
    def last_frame(self) -> int:
        return self.num_frames - 1

    def names(self) -> dict[str, float]:
        return {"s": float(self.seed), "max_f": float(self.last_frame)}

    def names_at(self, frame: int, chunk: int) -> dict[str, float]:
        return {**self.names(), "t": float(frame), "sec": float(frame / self.fps), "chunk": float(chunk)}


@dataclass(frozen=True, slots=True)
class Key:
    """A keyframe whose frame is a number; `num_frames` itself, the end of the job, counts as its last frame."""

    frame: int
    value: float | Expression


@dataclass(slots=True)
class Curve:
    """One scheduled number, low..high. `where` names it in messages; what is wrong is added to `diagnostics`.

    `advance` is called for every chunk, in order; after each call `moves` and `known` speak of that chunk.
    """

    where: str
    schedule: Schedule[float]
    low: float
    high: float
    clock: Clock
    diagnostics: Diagnostics
    _steady: float | None = field(init=False)
    _landed: int = 0
    _keys: deque[Key] = field(init=False)
    _values: list[float | None] = field(default_factory=list)
    _in_force: Key | None = None
    _landed_on: int = 0
    _first_frame: int = 0
    _moves: bool = False
    _inside: list[str] = field(default_factory=list)
    _faulty: bool = False

    def __post_init__(self) -> None:
        self._steady = self.schedule.values[0] if len(self.schedule.values) == 1 else None
        read = [key for written in self.schedule.keys if (key := self._read(written)) is not None]
        self._keys = deque(sorted(read, key=lambda key: key.frame))
        for before, key in pairwise(self._keys):
            if before.frame == key.frame:
                self._fault(f"two keyframes at frame {key.frame}; one is allowed")

    def advance(self, start: ChunkStart) -> None:
        """Take the next chunk."""
        index, first_frame = start.index, start.first_frame
        self._landed += 1
        if self._steady is not None:
            return
        self._first_frame = first_frame
        arrived: list[Key] = []
        while self._keys and min(self._keys[0].frame, self.clock.last_frame) < start.end_if_uncut:
            arrived.append(self._keys.popleft())
        before = self._values[-1] if self._values else None
        if self.schedule.values:
            self._values.append(self.schedule.at(start.list_position))
        elif arrived:
            before = self._arrive(arrived, index, first_frame)
        else:
            self._values.append(self._on_the_way(index, first_frame))
        now = self._values[-1]
        self._moves = index > 0 and (now != before if now is not None else self._in_force is not None)

    @property
    def is_steady(self) -> bool:
        """One number for the whole job."""
        return self._steady is not None

    def repeat(self, chunks: int) -> None:
        """`chunks` more chunks of a steady number."""
        assert self.is_steady
        self._landed += chunks

    @property
    def moves(self) -> bool:
        """Whether the value of the chunk that landed last differs from the one before. Of a way that leads to an
        expression, whose value is not known yet, this is taken for granted."""
        return self._moves

    @property
    def known(self) -> float | None:
        """The value of the chunk that landed last; None as long as it depends on where the next key lands."""
        return self._values[-1] if self._steady is None else self._steady

    def values(self) -> tuple[float, ...]:
        """One per landed chunk, when all have landed."""
        if self._steady is not None:
            return (self._steady,) * self._landed
        if self._keys:
            self._land_late()
        if self._inside:
            more = f" and {len(self._inside) - SHOWN} more" if len(self._inside) > SHOWN else ""
            self.diagnostics.notes.append(
                f"{self.where}: keys inside a chunk act from its first frame: {', '.join(self._inside[:SHOWN])}{more}"
            )
        return tuple(self.low if value is None else value for value in self._values)

    def _read(self, written: Keyframe) -> Key | None:
        frame, shown = written.frame, str(written.frame)
        if isinstance(frame, Expression):
            text = frame.text
            try:
                frame = int(frame.value(self.clock.names()))
            except ValueError as error:
                self._fault(f"the keyframe {_shortened(text)} {error}")
                return None
            shown = f"{_shortened(text)} = {frame}"
        if not 0 <= frame <= self.clock.num_frames:
            end = f"{self.clock.num_frames} stands for the end"
            self._fault(f"the keyframe {shown} lies outside the job; allowed: 0 to {self.clock.last_frame}, {end}")
            return None
        return Key(frame, written.value)

    def _arrive(self, keys: list[Key], index: int, first_frame: int) -> float:
        """Lands `keys` on a chunk; the value of the chunk before it. The way up to here led to the first of them."""
        arrival = self._at(keys[0].value, index, first_frame)
        value = arrival if len(keys) == 1 else self._at(keys[-1].value, index, first_frame)
        if len(keys) > 1:
            named = " and ".join(str(key.frame) for key in keys[-2:])
            self.diagnostics.notes.append(
                f"{self.where}: the keys {named} both land on chunk {index}: the later, {keys[-1].frame}, wins"
            )
        if keys[-1].frame != first_frame:
            self._inside.append(f"{keys[-1].frame} -> chunk {index} (frame {first_frame})")
        self._fill(arrival, index)
        before = self._values[-1] if self._values else None
        self._values.append(value)
        self._in_force, self._landed_on = keys[-1], index
        return value if before is None else before

    def _land_late(self) -> None:
        """Handles keyframes on the thirteenth frame of a video cut, when the job ends with that frame."""
        self._values.pop()
        index, before = len(self._values), self._in_force
        here = [before] if before is not None and self._landed_on == index else []
        self._arrive([*here, *self._keys], index, self._first_frame)
        self._keys.clear()

    def _fill(self, arrival: float, index: int) -> None:
        """The values on the way, now that its end is known; before the first key they are that key's."""
        if self._in_force is None:
            self._values = [arrival] * index
            return
        start, steps = self._landed_on, index - self._landed_on
        if not steps:
            return
        departure = self._values[start]
        assert departure is not None
        for chunk in range(start + 1, index):
            if self._values[chunk] is None:
                share = chunk - start
                self._values[chunk] = (departure * (steps - share) + arrival * share) / steps

    def _on_the_way(self, index: int, first_frame: int) -> float | None:
        if self._in_force is None:
            return None
        value = self._in_force.value
        if isinstance(value, Expression):
            return self._at(value, index, first_frame)
        return value if not self._keys or self._keys[0].value == value else None

    def _at(self, value: float | Expression, index: int, first_frame: int) -> float:
        if not isinstance(value, Expression):
            return value
        if self._faulty:
            return self.low
        where = f"at frame {first_frame} (chunk {index})"
        try:
            number = value.value(self.clock.names_at(first_frame, index))
        except ValueError as error:
            self._fault(f"{_shortened(value.text)} {error} {where}")
            return self.low
        if not self.low <= number <= self.high:
            self._fault(f"{_shortened(value.text)} is {number:.6g} {where}; allowed: {self.low:g}..{self.high:g}")
            return self.low
        return number

    def _fault(self, message: str) -> None:
        """The first fault is enough: the others follow from it, or read alike. After it nothing is evaluated."""
        if not self._faulty:
            self._faulty = True
            self.diagnostics.problems.append(f"{self.where}: {message}")


def _shortened(text: str, longest: int = 80) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
