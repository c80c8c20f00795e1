"""Computes a scheduled number chunk by chunk, while the frame ranges of later chunks are still unknown.

Between two keyframes the value is linear in the chunk index, so it is known only when the chunk of the second one is.
That it *changes* is known at once, and this is all that a cut depends on.
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
    """The variables of expressions. `seed`: the job's first."""

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
    """One scheduled number in low..high. `where` names it in messages; faults are added to `diagnostics`.

    `advance` is called for every chunk, in order; after each call `moves` and `known` are about that chunk.
    """

    where: str
    schedule: Schedule[float]
    low: float
    high: float
    clock: Clock
    diagnostics: Diagnostics
    _constant: float | None = field(init=False)
    _chunks: int = 0
    _keys: deque[Key] = field(init=False)
    _values: list[float | None] = field(default_factory=list)
    _key: Key | None = None
    _key_chunk: int = 0
    _first_frame: int = 0
    _moves: bool = False
    _late: list[str] = field(default_factory=list)
    _faulty: bool = False

    def __post_init__(self) -> None:
        self._constant = self.schedule.values[0] if len(self.schedule.values) == 1 else None
        read = [key for written in self.schedule.keys if (key := self._read(written)) is not None]
        self._keys = deque(sorted(read, key=lambda key: key.frame))
        for before, key in pairwise(self._keys):
            if before.frame == key.frame:
                self._fault(f"two keyframes at frame {key.frame}; one is allowed")

    def advance(self, start: ChunkStart) -> None:
        """Advance to the next chunk."""
        index, first_frame = start.index, start.first_frame
        self._chunks += 1
        if self._constant is not None:
            return
        self._first_frame = first_frame
        reached: list[Key] = []
        while self._keys and min(self._keys[0].frame, self.clock.last_frame) < start.end_if_uncut:
            reached.append(self._keys.popleft())
        before = self._values[-1] if self._values else None
        if self.schedule.values:
            self._values.append(self.schedule.at(start.list_position))
        elif reached:
            before = self._apply_keys(reached, index, first_frame)
        else:
            self._values.append(self._between_keys(index, first_frame))
        now = self._values[-1]
        self._moves = index > 0 and (now != before if now is not None else self._key is not None)

    @property
    def is_constant(self) -> bool:
        """True if the number is the same for the whole job."""
        return self._constant is not None

    def repeat(self, chunks: int) -> None:
        """Add `chunks` chunks of a constant number."""
        assert self.is_constant
        self._chunks += chunks

    @property
    def moves(self) -> bool:
        """True if the value of the latest chunk differs from the one before. If it leads to an expression, whose value
        is not known yet, True is assumed."""
        return self._moves

    @property
    def known(self) -> float | None:
        """Value of the latest chunk; None as long as it depends on the chunk of the next keyframe."""
        return self._values[-1] if self._constant is None else self._constant

    def values(self) -> tuple[float, ...]:
        """Return one value per chunk. Call it after the last chunk."""
        if self._constant is not None:
            return (self._constant,) * self._chunks
        if self._keys:
            self._apply_late_keys()
        if self._late:
            more = f" and {len(self._late) - SHOWN} more" if len(self._late) > SHOWN else ""
            self.diagnostics.notes.append(
                f"{self.where}: keys inside a chunk act from its first frame: {', '.join(self._late[:SHOWN])}{more}"
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
            end = f"{self.clock.num_frames} is the end"
            self._fault(f"the keyframe {shown} is outside the job; allowed: 0 to {self.clock.last_frame}, {end}")
            return None
        return Key(frame, written.value)

    def _apply_keys(self, keys: list[Key], index: int, first_frame: int) -> float:
        """Apply `keys` to a chunk; chunks before it interpolate to the first of them. Returns the value before it."""
        end_value = self._at(keys[0].value, index, first_frame)
        value = end_value if len(keys) == 1 else self._at(keys[-1].value, index, first_frame)
        if len(keys) > 1:
            named = " and ".join(str(key.frame) for key in keys[-2:])
            self.diagnostics.notes.append(
                f"{self.where}: the keys {named} both act in chunk {index}: the later, {keys[-1].frame}, wins"
            )
        if keys[-1].frame != first_frame:
            self._late.append(f"{keys[-1].frame} -> chunk {index} (frame {first_frame})")
        self._fill(end_value, index)
        before = self._values[-1] if self._values else None
        self._values.append(value)
        self._key, self._key_chunk = keys[-1], index
        return value if before is None else before

    def _apply_late_keys(self) -> None:
        """Apply keyframes on the thirteenth frame of a video cut, if the job ends with that frame."""
        self._values.pop()
        index, before = len(self._values), self._key
        same_chunk = [before] if before is not None and self._key_chunk == index else []
        self._apply_keys([*same_chunk, *self._keys], index, self._first_frame)
        self._keys.clear()

    def _fill(self, end_value: float, index: int) -> None:
        """Interpolate the values up to a key. Before the first key they are constant."""
        if self._key is None:
            self._values = [end_value] * index
            return
        start, steps = self._key_chunk, index - self._key_chunk
        if not steps:
            return
        start_value = self._values[start]
        assert start_value is not None
        for chunk in range(start + 1, index):
            if self._values[chunk] is None:
                share = chunk - start
                self._values[chunk] = (start_value * (steps - share) + end_value * share) / steps

    def _between_keys(self, index: int, first_frame: int) -> float | None:
        if self._key is None:
            return None
        value = self._key.value
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
        """Report the first fault only: others follow from it or repeat it. After it nothing is evaluated."""
        if not self._faulty:
            self._faulty = True
            self.diagnostics.problems.append(f"{self.where}: {message}")


def _shortened(text: str, longest: int = 80) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
