"""Maps the frames of an output to the chunks and prompts that they come from, as the metadata of an output hold it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, groupby, pairwise
from typing import Any, Self

from scope_batch.core.conditioning import Prompt
from scope_batch.core.plan import Plan
from scope_batch.plan.view import text


@dataclass(frozen=True, slots=True)
class FilmMap:
    """Frames are those of the output, from 0.

    chunk_frames  frames that each chunk delivers.
    prompts       (first frame, prompt) of each prompt or blend in force.
    cuts          the first frames of the sequences after the first one.
    """

    fps: Fraction
    chunk_frames: tuple[int, ...]
    prompts: tuple[tuple[int, str], ...]
    cuts: tuple[int, ...] = ()

    @classmethod
    def of_plan(cls, plan: Plan, public: Mapping[str, str] | None = None) -> Self:
        """public: texts that stand in place of prompts that must not be stored."""
        delivered = [plan.delivered(chunk) for chunk in plan.chunks]
        hidden = public or {}
        prompts: list[tuple[int, str]] = []
        for frames, shares in zip(delivered, text.shares_of(plan.chunks), strict=True):
            shown = text.prompt([Prompt(hidden.get(share.text, share.text), share.weight) for share in shares])
            if not prompts or prompts[-1][1] != shown:
                prompts.append((frames.start, shown))
        cuts = (frames.start for frames, chunk in zip(delivered, plan.chunks, strict=True) if chunk.index and chunk.cut)
        return cls(plan.delivery.fps, tuple(map(len, delivered)), tuple(prompts), tuple(cuts))

    @classmethod
    def of_json(cls, film: Any) -> Self | None:
        """Return the map of which `to_json` made these values, None for any other values."""
        if not isinstance(film, dict):
            return None
        try:
            frames = tuple(int(count) for count, times in film["chunk_frames"] for _ in range(times))
            prompts = tuple((int(frame), str(prompt)) for frame, prompt in film["prompts"])
            return cls(Fraction(film["fps"]), frames, prompts, tuple(map(int, film["cuts"])))
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; equal chunks in a row are written once, as [frames, number of chunks]."""
        runs = [[count, len([*run])] for count, run in groupby(self.chunk_frames)]
        return {
            "fps": str(self.fps),
            "chunk_frames": runs,
            "prompts": [list(prompt) for prompt in self.prompts],
            "cuts": list(self.cuts),
        }

    @property
    def frames(self) -> int:
        return sum(self.chunk_frames)

    @property
    def first_frames(self) -> list[int]:
        """The first frame of each chunk."""
        return [0, *accumulate(self.chunk_frames)][:-1]

    def chunk_at(self, frame: int) -> int:
        """Return the index of the chunk that delivers `frame`; frames beyond the end count for the last one."""
        return bisect_right(self.first_frames, min(frame, self.frames - 1)) - 1

    def prompt_at(self, frame: int) -> str:
        return self.prompts[max(bisect_right([first for first, _ in self.prompts], frame) - 1, 0)][1]

    def prompt_changes(self) -> list[int]:
        """Return the first frame of every prompt but the first."""
        return [after for (_, after) in pairwise(first for first, _ in self.prompts)]

    def place(self, frame: int) -> str:
        """Return "chunk 2, its frame 3, under "a cat" "."""
        chunk = self.chunk_at(frame)
        return f'chunk {chunk}, its frame {frame - self.first_frames[chunk]}, under "{self.prompt_at(frame)}"'
