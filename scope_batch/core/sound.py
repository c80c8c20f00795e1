"""The sound of an output as values: what a file holds, and what of it is heard when."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

AudioLength = Literal["hold", "loop", "stop"]
"""After the end of the sound: its last second again and again, the sound from its start, or silence."""


@dataclass(frozen=True, slots=True)
class SoundFacts:
    """start_s: seconds from the start of the file to the clip's first picture, 0 for a file that is sound alone.
    seconds: from there to the end of the sound.
    """

    path: Path
    start_s: Fraction
    seconds: Fraction


@dataclass(frozen=True, slots=True)
class SoundTrack:
    """The sound of an output.

    start_s  where it begins, in seconds from the start of the file.
    take_s   how many seconds from there on are heard before `length` decides.
    round_s  where it starts over: the time from one start to the next, at least `take_s`.
    """

    path: Path
    start_s: Fraction
    take_s: Fraction
    length: AudioLength
    round_s: Fraction
