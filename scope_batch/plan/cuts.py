"""Names the reasons for which a sequence starts anew, and checks them against the job's policy on cuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from scope_batch.core.geometry import Mode
from scope_batch.core.plan import NEW_VIDEO_PROMPT, Chunk
from scope_batch.plan.diagnostics import Diagnostics, name_chunks

START = "start"
RESET = "reset_cache"
NEW_STEPS = "denoising_steps change"
NEW_CONTROL_PROMPT = "prompt change with VACE frames"
NEW_MODE: dict[Mode, str] = {"text": "change to text mode", "video": "change to video mode"}
LORA_CHANGE = "LoRA change"

CutPolicy = Literal["allow", "warn", "forbid"]

WAYS_OUT = {
    NEW_STEPS: "manage_cache: false lets the sequence go on",
    LORA_CHANGE: "on_lora_change: keep or recache lets the sequence go on",
    NEW_VIDEO_PROMPT: "a transition or manage_cache: false lets the sequence go on",
    NEW_CONTROL_PROMPT: "a transition or manage_cache: false lets the sequence go on",
}


def check_cuts(chunks: Sequence[Chunk], policy: CutPolicy, diagnostics: Diagnostics) -> None:
    """`forbid` counts every cut after the start; `warn` leaves out those that the job asks for by `reset_cache`."""
    by_reason: dict[str, list[int]] = {}
    for chunk in chunks[1:]:
        if chunk.cut_reason is not None:
            by_reason.setdefault(chunk.cut_reason, []).append(chunk.index)
    for reason, indices in by_reason.items():
        first = chunks[indices[0]].first_frame
        where = f"hard cut at {name_chunks(indices)} (frame {first}{' on' if len(indices) > 1 else ''}): {reason}"
        if policy == "forbid":
            diagnostics.problems.append(f"cuts: forbid, but there is a {where}")
        elif policy == "warn" and reason != RESET:
            way_out = f"; {WAYS_OUT[reason]}" if reason in WAYS_OUT else ""
            diagnostics.warnings.append(where + way_out)


def check_opening_noise(chunks: Sequence[Chunk], diagnostics: Diagnostics) -> None:
    """A cut draws its noise from the base seed alone: with the same seed as an earlier cut it repeats that opening."""
    first_with: dict[int, int] = {}
    repeats: dict[int, list[int]] = {}
    for chunk in chunks:
        if chunk.cut and first_with.setdefault(chunk.noise_seed, chunk.index) != chunk.index:
            repeats.setdefault(chunk.noise_seed, []).append(chunk.index)
    for seed, indices in repeats.items():
        verb = "start" if len(indices) > 1 else "starts"
        diagnostics.warnings.append(
            f"{name_chunks(indices)} {verb} from the same noise as chunk {first_with[seed]} (seed {seed}); "
            "give each cut a seed of its own, 1000 or more apart"
        )
