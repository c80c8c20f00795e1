"""Defines the facts of a sound file, and the sound track of an output."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

AudioLength = Literal["hold", "loop", "stop"]
"""After the end of the sound: repeat its last second, repeat the whole sound, or stay silent."""


@dataclass(frozen=True, slots=True)
class SoundFacts:
    """start_s: seconds from the start of the file to the clip's first picture, 0 for a file that is sound alone.
    seconds: duration from there to the end of the sound.
    """

    path: Path
    start_s: Fraction
    seconds: Fraction


@dataclass(frozen=True, slots=True)
class SoundTrack:
    """The sound of an output.

    start_s  start within the file, in seconds.
    take_s   seconds that are played from there, before `length` applies.
    round_s  period of a loop in seconds, at least `take_s`.
    """

    path: Path
    start_s: Fraction
    take_s: Fraction
    length: AudioLength
    round_s: Fraction
