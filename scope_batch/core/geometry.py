"""Converts between frames, latent frames and tokens, and computes seeds and the first timestep of video mode.

Torch-free; planner, media, engine and tests take these constants and functions from here.

Wan 2.1's VAE is causal in time: the first latent frame of a stream holds 1 pixel frame, every later one 4. A *chunk* is
the output of one call of the engine; the first chunk of a sequence (after the start or a cut) starts a new VAE stream.
"""

from __future__ import annotations

from typing import Literal

Mode = Literal["text", "video"]

TIME_STRIDE = 4
"""Pixel frames per latent frame (all but the first of a stream)."""
SPACE_STRIDE = 8
"""Pixels per latent cell, each axis."""
PATCH = 2
"""Latent cells per token, each spatial axis (1 in time)."""
LATENT_CHANNELS = 16
VACE_CHANNELS = 2 * LATENT_CHANNELS + SPACE_STRIDE**2
"""Channels of a VACE context: inactive and reactive latents, and the mask of each pixel of a latent cell."""
assert VACE_CHANNELS == 96
TEXT_TOKENS = 512
"""Length to which every prompt embedding is zero-padded."""
SIZE_STEP = SPACE_STRIDE * PATCH
"""Height and width must be multiples of this: 16 pixels."""
assert SIZE_STEP == 16

MIN_FIRST_LATENTS = 2
"""The streaming decoder needs two latent frames to start; this affects pipelines with one per block."""
ROPE_TABLE_LATENTS = 1024
"""Length of the published RoPE table; no published run exceeds `ROPE_TABLE_LATENTS - block` latent frames."""


def frames_of_latents(latents: int, *, first: bool) -> int:
    """Pixel frames that `latents` latent frames decode to: 4n - 3 at the start of a stream, else 4n."""
    return TIME_STRIDE * latents - (TIME_STRIDE - 1 if first else 0)


def latents_of_frames(frames: int, *, first: bool) -> int:
    """Latent frames that `frames` pixel frames encode to; the count must fill whole latent frames."""
    latents, rest = divmod(frames + (TIME_STRIDE - 1 if first else 0), TIME_STRIDE)
    if rest or latents < 1:
        raise ValueError(f"{frames} frames do not fill whole latent frames ({'4n - 3' if first else '4n'} do)")
    return latents


def chunk_latents(block: int, mode: Mode, *, first: bool) -> int:
    """Latent frames of a chunk. `block` = latent frames per block of the pipeline.

    A first chunk of video takes one more, so that it consumes 4 * block + 1 frames (13 for LongLive); a first chunk of
    text has at least two.
    """
    if not first:
        return block
    return block + 1 if mode == "video" else max(block, MIN_FIRST_LATENTS)


def chunk_frames(block: int, mode: Mode, *, first: bool) -> int:
    """Pixel frames of a chunk: 9 or 13, then 12 for a block of three."""
    return frames_of_latents(chunk_latents(block, mode, first=first), first=first)


CONTEXT_LATENTS = 3
"""Latent frames of context for a chunk in pipelines without other memory of the past."""
RECENT_FRAMES = frames_of_latents(CONTEXT_LATENTS, first=True)
"""Pixel frames of that context."""
assert RECENT_FRAMES == 9

assert [chunk_frames(3, "text", first=f) for f in (True, False)] == [9, 12]
assert [chunk_frames(3, "video", first=f) for f in (True, False)] == [13, 12]
assert [chunk_frames(1, m, first=f) for m in ("text", "video") for f in (True, False)] == [5, 4, 5, 4]


def latent_group_start(frame: int, *, first: bool) -> int:
    """Return the first pixel frame of the latent frame with `frame`, both counted from the chunk's first frame."""
    if first:
        return 0 if frame == 0 else frame - (frame - 1) % TIME_STRIDE
    return frame - frame % TIME_STRIDE


assert [latent_group_start(f, first=True) for f in range(9)] == [0, 1, 1, 1, 1, 5, 5, 5, 5]
assert [latent_group_start(f, first=False) for f in range(8)] == [0, 0, 0, 0, 4, 4, 4, 4]


def tokens_per_latent(height: int, width: int) -> int:
    """Tokens of one latent frame; height and width in pixels."""
    return (height // SIZE_STEP) * (width // SIZE_STEP)


assert tokens_per_latent(480, 832) == 1560


def noise_seed(seed: int, start_latent: int) -> int:
    """Seed of a chunk's noise: the base seed plus the latent frames since the last cut."""
    return seed + start_latent


def first_video_step(noise_scale: float) -> int:
    """Return the timestep (0..1000) that replaces the first denoising step in video mode; noise_scale in 0..1."""
    return max(0, int(1000 * noise_scale) - 100)


assert first_video_step(0.7) == 600 and first_video_step(0.05) == 0

PROTOCOL_SLOT_FRAMES = 12
"""`chunk: k` in the HTTP protocol counts slots of twelve delivered frames."""


def protocol_slot(first_frame: int, num_frames: int) -> int:
    """Return the slot whose entry applies to a chunk that begins at delivered frame `first_frame` of `num_frames`."""
    last = (num_frames + PROTOCOL_SLOT_FRAMES - 1) // PROTOCOL_SLOT_FRAMES - 1
    return min((2 * first_frame + PROTOCOL_SLOT_FRAMES) // (2 * PROTOCOL_SLOT_FRAMES), last)


assert [protocol_slot(f, 48) for f in (0, 9, 21, 33, 45)] == [0, 1, 2, 3, 3]

BANK_FRAMES = 3
"""Latent frames in a memory bank."""
BANK_SLOTS = BANK_FRAMES + 1
"""Slots of the KV cache for the bank, one of them for the next frame to enter it."""

VACE_STILL_FRAMES = 4
"""Pixel frames that a first image replaces."""

CONTROLLER_STATIC, CONTROLLER_MOTION = 0.8, 0.2
CONTROLLER_WEIGHT = 0.9
CONTROLLER_FULL_MOTION = 0.2
"""RMS difference (pixels in -1..1) that counts as full motion."""


def controlled_noise_scale(motion: float, noise_scale: float) -> float:
    """Return the controller's noise scale for `motion` in 0..1 (0 = still): 90 % its own, 10 % the job's value."""
    return (CONTROLLER_STATIC - CONTROLLER_MOTION * motion) * CONTROLLER_WEIGHT + noise_scale * (1 - CONTROLLER_WEIGHT)
