"""Defines the plan of a render as frozen values: every default is resolved, and there are no tensors.

`Chunk` is the contract between the planner and the engine; `Plan` is the whole render. Frame numbers count delivered
frames from 0. *Latent* numbers count latent frames since the last cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from scope_batch.core import geometry
from scope_batch.core.canonical import canonical
from scope_batch.core.conditioning import Conditioning
from scope_batch.core.device_memory import DeviceMemory
from scope_batch.core.geometry import Mode
from scope_batch.core.sound import SoundTrack
from scope_batch.core.timeline import Placement
from scope_batch.core.timing import Timing


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """The facts of the input video that the planner needs.

    width, height  pixels, after rotation, before `fit`.
    frames         after `input_start`/`input_end` and picking by `input_fps`; counted, not estimated.
    fps            frames per second of those frames.
    timing         display times of all frames of the file; None: the whole file is read at `fps`.
    notes, warnings  properties of the clip and how they are handled, without its name.
    """

    width: int
    height: int
    frames: int
    fps: Fraction
    has_audio: bool
    timing: Timing | None = field(default=None, compare=False)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


NEW_VIDEO_PROMPT = "prompt change in video mode"
"""Reason of the only kind of cut that does not interrupt the input video."""


@dataclass(frozen=True, slots=True)
class Still:
    """An image that replaces frames first .. end - 1 of a chunk, counted from the chunk's first frame.

    closing  True: the last image of the chunk; False: its first image.
    """

    path: Path
    first: int
    end: int
    closing: bool = False

    @property
    def name(self) -> str:
        return "last image" if self.closing else "first image"


@dataclass(frozen=True, slots=True)
class Vace:
    """The VACE inputs of a chunk: sources in the order in which they are composed, the last on top.

    scale      strength of the hints, 0..2.
    timeline   control frames or masks on the timeline cover at least one frame of the chunk.
    stills     images over the timeline, the later on top: the first image, then the last image.
    reference  an image whose latent takes the first slot of the context; the other latents move back by one.
    restart_streams  the two encoder streams (inactive, reactive) restart with this chunk: at a cut, or if the previous
               chunk did not use them.
    """

    scale: float
    timeline: bool = False
    stills: tuple[Still, ...] = ()
    reference: Path | None = None
    restart_streams: bool = True

    @property
    def has_frames(self) -> bool:
        """True if the context is encoded from frames; False if it is the reference alone."""
        return self.timeline or bool(self.stills)


@dataclass(frozen=True, slots=True)
class LoraUse:
    """A LoRA of the job. merged: added to the weights, with one scale for the whole job; else a side branch."""

    path: Path
    merged: bool


@dataclass(frozen=True, slots=True)
class ChunkGrid:
    """The position of a chunk in the render, and how it continues the previous one.

    index           0-based.
    first_frame     first delivered frame of this chunk.
    frames          pixel frames that the engine generates (9, 12, 13 ...).
    keep            how many of them are delivered (fewer than `frames` only in the last chunk).
    latents         latent frames.
    start_latent    latent frames since the last cut, before this chunk: RoPE position and seed offset. 0 on a cut.
    mode            "video": the input's frames are encoded and mixed with noise; "text": noise alone.
    cut_reason      why a new sequence starts here (KV cache, VAE streams); None = the sequence continues.
    recache_reason  why the KV cache is recomputed with the new prompt before this chunk; None = it is not.
    conditioning    the prompt, blend or transition step of this chunk.
    text_changed    the conditioning differs from the previous chunk's (text keys and values are recomputed).
    seed            base seed; the noise is drawn from `noise_seed`.
    denoising_steps timesteps (0..1000), before video mode replaces the first one.
    noise_controller  video mode: the engine adapts `noise_scale` to the motion in the input.
    """

    index: int
    first_frame: int
    frames: int
    keep: int
    latents: int
    start_latent: int
    mode: Mode
    cut_reason: str | None
    recache_reason: str | None
    conditioning: Conditioning
    text_changed: bool
    seed: int
    denoising_steps: tuple[int, ...]
    noise_controller: bool

    @property
    def cut(self) -> bool:
        return self.cut_reason is not None

    @property
    def resets_noise_controller(self) -> bool:
        """True if the noise controller restarts: at every cut except one for a new prompt alone."""
        return self.cut and self.cut_reason != NEW_VIDEO_PROMPT

    @property
    def recache(self) -> bool:
        return self.recache_reason is not None

    @property
    def noise_seed(self) -> int:
        return geometry.noise_seed(self.seed, self.start_latent)

    @property
    def last_frame(self) -> int:
        return self.first_frame + self.keep - 1


@dataclass(frozen=True, slots=True)
class Chunk(ChunkGrid):
    """One call of the engine.

    noise_scale     video mode: 0..1. None in text mode.
    vace            None = this chunk does not use VACE.
    lora_scales     in the order of `Plan.loras`.
    lora_changed    a scale differs from the previous chunk's: text keys and values are recomputed. Not in chunk 0.
    attention_bias  weight of cached latent frames in self-attention, 0.01..1, 1 = plain. None: the pipeline has none.
    """

    noise_scale: float | None
    vace: Vace | None = None
    lora_scales: tuple[float, ...] = ()
    lora_changed: bool = False
    attention_bias: float | None = None

    @property
    def lead(self) -> int:
        """Number of frames before the chunk that VACE encodes first: 1 if its streams start within a sequence."""
        return int(self.vace is not None and self.vace.has_frames and self.vace.restart_streams and not self.cut)


@dataclass(frozen=True, slots=True)
class Landing:
    """The chunk in which an entry of the job takes effect. asked: the place in the job; first_frame: of that chunk."""

    asked: str
    chunk: int
    first_frame: int
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Delivery:
    """Number of frames in the outputs, their rate, height and width in pixels."""

    frames: int
    fps: Fraction
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class ProcessorRef:
    """A processor of the job: its id and its parameters as JSON values."""

    id: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PostProcessing:
    """Processors after the pipeline in order of application, and the frames that they deliver.

    ends  frames delivered up to the end of each chunk; the flushed frames count for the last one.
    """

    processors: tuple[ProcessorRef, ...]
    delivery: Delivery
    ends: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole render, as a value: it pickles, compares, and has the same hash in every process.

    Frames, rate and size are the pipeline's: `keep` over all chunks sums to `num_frames`.

    pre_processors   applied to input video before it is encoded or steers VACE (pre_processor_output); they keep the
                     number of frames.
    post_processing  applied to the pipeline's frames; None: they are delivered unchanged.
    memory_bank      keep frames beyond the KV cache's window, chosen by relevance.
    sound            sound track of outputs that support it; None: silent.
    defaults         fields that the job does not set but uses, with their default values as JSON.
    """

    pipeline_id: str
    num_frames: int
    fps: Fraction
    height: int
    width: int
    chunks: tuple[Chunk, ...]
    placements: tuple[Placement, ...] = ()
    loras: tuple[LoraUse, ...] = ()
    memory_bank: bool = False
    pre_processors: tuple[ProcessorRef, ...] = ()
    post_processing: PostProcessing | None = None
    pre_processor_output: Literal["video", "vace_frames"] = "video"
    sound: SoundTrack | None = None
    landings: tuple[Landing, ...] = ()
    defaults: tuple[tuple[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    memory: DeviceMemory | None = None

    def __post_init__(self) -> None:
        delivered = sum(chunk.keep for chunk in self.chunks)
        assert delivered == self.num_frames, f"the plan delivers {delivered} of {self.num_frames} frames"

    def fingerprint(self) -> str:
        """Return the SHA-256, in hexadecimal, of all values of the plan: the same for equal plans in every process.

        Each call computes it again, in about 30 microseconds per chunk.
        """
        return hashlib.sha256(canonical(self).encode()).hexdigest()

    def __hash__(self) -> int:
        return hash(int(self.fingerprint(), 16))

    @property
    def post_processors(self) -> tuple[ProcessorRef, ...]:
        return () if self.post_processing is None else self.post_processing.processors

    @property
    def delivery(self) -> Delivery:
        if self.post_processing is not None:
            return self.post_processing.delivery
        return Delivery(self.num_frames, self.fps, self.height, self.width)

    def delivered(self, chunk: Chunk) -> range:
        """Return the range of frames that are delivered once `chunk` is generated."""
        if self.post_processing is None:
            return range(chunk.first_frame, chunk.first_frame + chunk.keep)
        ends = self.post_processing.ends
        return range(ends[chunk.index - 1] if chunk.index else 0, ends[chunk.index])
