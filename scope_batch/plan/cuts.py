"""Names the reasons for hard cuts, and checks them against the job's policy on cuts."""

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

REMEDIES = {
    NEW_STEPS: "manage_cache: false avoids the cut",
    LORA_CHANGE: "on_lora_change: keep or recache avoids the cut",
    NEW_VIDEO_PROMPT: "a transition or manage_cache: false avoids the cut",
    NEW_CONTROL_PROMPT: "a transition or manage_cache: false avoids the cut",
}


def check_cuts(chunks: Sequence[Chunk], policy: CutPolicy, diagnostics: Diagnostics) -> None:
    """Report the cuts after the start: all if `policy` is forbid, all but those by `reset_cache` if it is warn."""
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
            remedy = f"; {REMEDIES[reason]}" if reason in REMEDIES else ""
            diagnostics.warnings.append(where + remedy)


def check_opening_noise(chunks: Sequence[Chunk], diagnostics: Diagnostics) -> None:
    """Warn about cuts that repeat noise: after a cut it depends on the base seed alone."""
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
