"""Turns a job into a plan in one pass over its chunks, from left to right."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from scope_batch.core.conditioning import Conditioning, Transition
from scope_batch.core.geometry import Mode
from scope_batch.core.plan import NEW_VIDEO_PROMPT, ChunkGrid, ClipFacts, Landing, Plan
from scope_batch.core.sound import SoundFacts
from scope_batch.core.timeline import ClipSource, ClipSourceFacts
from scope_batch.job.schema import DEFAULT_NOISE_SCALE
from scope_batch.pipelines.spec import PipelineSpec
from scope_batch.plan import capabilities, checks
from scope_batch.plan.chunk_overrides import NO_OVERRIDES, ChunkOverrides
from scope_batch.plan.cuts import LORA_CHANGE, NEW_CONTROL_PROMPT, NEW_MODE, NEW_STEPS, RESET, START
from scope_batch.plan.defaults import defaults_in_force
from scope_batch.plan.diagnostics import Diagnostics
from scope_batch.plan.entries import ChunkStart, EntryQueue, merge, read_entries
from scope_batch.plan.idle import Outcome, note_idle
from scope_batch.plan.material_fields import Facts
from scope_batch.plan.placement import TimelineBuilder
from scope_batch.plan.processors import post_processing, read_processors, refs
from scope_batch.plan.prompt_steps import PromptSteps, check_prompts
from scope_batch.plan.scheduled_values import ScheduledValues, read_scheduled_values
from scope_batch.plan.settings import Settings, resolve
from scope_batch.plan.sound_track import place_sound
from scope_batch.plan.vace import steer

if TYPE_CHECKING:
    from scope_batch.job import Job


NO_FACTS: dict[ClipSource, ClipSourceFacts] = {}


def plan_job(
    job: Job, spec: PipelineSpec, clip: ClipFacts | None, facts: Facts = NO_FACTS, sound: SoundFacts | None = None
) -> Plan:
    """Plan every chunk, without reading any file. `clip` is required for a job with an input video, `facts` for all
    `plan.material_fields.all_clip_fields`, `sound` for a job with readable sound.

    Raises JobError (each problem on its own line) for a job that cannot be rendered.
    """
    diagnostics = Diagnostics(warnings=[*job.source.warnings])
    capabilities.check(job, spec, facts, diagnostics)
    settings = resolve(job, spec, clip)
    checks.check_clip(job, settings, clip, diagnostics)
    checks.note_shapes_of_control(job, settings, facts, diagnostics)
    check_prompts(job, diagnostics)
    entries = read_entries(job, settings.fps, settings.num_frames, diagnostics)
    checks.check_entry_clips(entries, settings, facts, diagnostics)
    timeline = TimelineBuilder(job, settings, entries, clip, facts, diagnostics)
    pre, post = read_processors(job, settings, diagnostics)
    diagnostics.refuse()
    prompts = PromptSteps(settings.blend_method, settings.prompts, diagnostics)
    scheduled = read_scheduled_values(job, settings, diagnostics)
    walk = Walk(settings, EntryQueue(entries, settings.grid), diagnostics, prompts, scheduled, timeline)
    walk.run()
    placements = timeline.finish(walk.chunks)
    vaces = steer(job, walk.chunks, walk.overrides, placements, diagnostics)
    chunks, loras = scheduled.apply(walk.chunks, vaces)
    checks.check_chunks(job, chunks, settings, diagnostics)
    outcome = Outcome(
        settings,
        clip,
        facts,
        chunks,
        walk.overrides,
        walk.causes,
        placements,
        method_used=prompts.method_used,
        control_is_short=timeline.control_is_short,
    )
    note_idle(job, outcome, diagnostics)
    diagnostics.refuse()
    plan = Plan(
        pipeline_id=spec.id,
        num_frames=settings.num_frames,
        fps=settings.fps,
        height=settings.height,
        width=settings.width,
        chunks=tuple(chunks),
        placements=placements,
        loras=loras,
        memory_bank=job.memory_bank,
        pre_processors=refs(pre),
        post_processing=post_processing(post, settings, chunks),
        pre_processor_output="vace_frames" if job.input_steers else "video",
        landings=tuple(walk.landings),
        defaults=tuple(defaults_in_force(job, settings, facts, chunks).items()),
    )
    track = None if sound is None else place_sound(job, plan, clip, sound, diagnostics)
    diagnostics.refuse()
    return replace(plan, sound=track, notes=tuple(diagnostics.notes), warnings=tuple(diagnostics.warnings))


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of a chunk that may cause a cut. prompt: it changes without a transition; control: VACE frames cover part
    of the uncut chunk; loras: a scale changes."""

    mode: Mode
    steps: tuple[int, ...]
    prompt: bool
    control: bool
    loras: bool


@dataclass(slots=True)
class Walk:
    """Plans one chunk after another. `causes`: per chunk, the changes that would cut it."""

    settings: Settings
    queue: EntryQueue
    diagnostics: Diagnostics
    prompts: PromptSteps
    scheduled: ScheduledValues
    timeline: TimelineBuilder
    chunks: list[ChunkGrid] = field(default_factory=list)
    overrides: list[ChunkOverrides] = field(default_factory=list)
    causes: list[list[str]] = field(default_factory=list)
    landings: list[Landing] = field(default_factory=list)

    def run(self) -> None:
        first_frame = start_latent = 0
        while first_frame < self.settings.num_frames:
            if self._is_settled():
                self._repeat_last(first_frame, start_latent)
                break
            chunk = self._chunk(len(self.chunks), first_frame, start_latent)
            self.chunks.append(chunk)
            first_frame += chunk.frames
            start_latent = chunk.start_latent + self.settings.spec.advance(chunk.mode, first=chunk.cut)
        self.prompts.note_slerps()
        self.queue.report_unused(len(self.chunks), self.diagnostics)

    def _chunk(self, index: int, first_frame: int, start_latent: int) -> ChunkGrid:
        settings, spec = self.settings, self.settings.spec
        start = settings.grid.start(index, first_frame, spec.chunk_frames(self.timeline.opening, first=index == 0))
        overrides = self._overrides(start)
        mode = self.timeline.mode(overrides)
        steps = overrides.denoising_steps or settings.denoising_steps[mode]
        changes = Changes(
            mode=mode,
            steps=steps,
            prompt=self.prompts.take(index, overrides),
            control=self.timeline.controlled(overrides, start),
            loras=self.scheduled.advance(start, overrides),
        )
        cut_reason = self._cut_reason(overrides, changes)
        cut = cut_reason is not None
        frames = spec.chunk_frames(mode, first=cut)
        self.timeline.place_chunk(overrides, index, first_frame, frames)
        conditioning, text_changed = self.prompts.resolve(
            index, overrides, cut=cut, last=first_frame + frames >= settings.num_frames
        )
        recached = text_changed and not cut and spec.on_prompt_change == "recache"
        return ChunkGrid(
            index=index,
            first_frame=first_frame,
            frames=frames,
            keep=min(frames, settings.num_frames - first_frame),
            latents=spec.chunk_latents(mode, first=cut),
            start_latent=0 if cut else start_latent,
            mode=mode,
            cut_reason=cut_reason,
            recache_reason=recache_reason(conditioning) if recached else None,
            conditioning=conditioning,
            text_changed=text_changed,
            seed=settings.seeds.at(start.list_position) if overrides.seed is None else overrides.seed,
            denoising_steps=steps,
            noise_controller=self._noise_controller(index, mode, overrides),
        )

    def _is_settled(self) -> bool:
        """Return True if all later chunks equal the last one but for their place: no entry, schedule or transition is
        left, and the last chunk itself has no entries, cut or new prompt."""
        if not self.chunks or not self.queue.is_empty or self.prompts.running or not self.scheduled.are_constant:
            return False
        last, settings = self.chunks[-1], self.settings
        return (
            self.overrides[-1] is NO_OVERRIDES
            and not (last.cut or last.text_changed)
            and last.mode == settings.mode
            and len(settings.seeds.values) == 1
        )

    def _repeat_last(self, first_frame: int, start_latent: int) -> None:
        """Add chunks like the last one up to the end of the job. They are built directly, as a long job has many."""
        last, end = self.chunks[-1], self.settings.num_frames
        starts = range(first_frame, end, last.frames)
        self.chunks += [
            ChunkGrid(
                index=index,
                first_frame=start,
                frames=last.frames,
                keep=min(last.frames, end - start),
                latents=last.latents,
                start_latent=start_latent + (index - last.index - 1) * last.latents,
                mode=last.mode,
                cut_reason=None,
                recache_reason=None,
                conditioning=last.conditioning,
                text_changed=False,
                seed=last.seed,
                denoising_steps=last.denoising_steps,
                noise_controller=last.noise_controller,
            )
            for index, start in enumerate(starts, last.index + 1)
        ]
        self.overrides += [NO_OVERRIDES] * len(starts)
        self.causes += [[]] * len(starts)
        self.scheduled.repeat(len(starts))

    def _overrides(self, start: ChunkStart) -> ChunkOverrides:
        entries = self.queue.take(start)
        if not entries:
            self.overrides.append(NO_OVERRIDES)
            return NO_OVERRIDES
        for entry in entries:
            if not entry.repeated:
                self.landings.append(Landing(entry.position, start.index, start.first_frame, entry.fields))
        self.overrides.append(merge(entries, start.index, self.diagnostics))
        return self.overrides[-1]

    def _cut_reason(self, overrides: ChunkOverrides, changes: Changes) -> str | None:
        self.causes.append([])
        if not self.chunks:
            return START
        if overrides.reset_cache:
            return RESET
        if changes.mode != self.chunks[-1].mode:
            return NEW_MODE[changes.mode]
        causes = self.causes[-1] = self._own_causes(changes, self.chunks[-1])
        manages = self.settings.manage_cache if overrides.manage_cache is None else overrides.manage_cache
        return " and ".join(causes) or None if manages else None

    def _own_causes(self, changes: Changes, before: ChunkGrid) -> list[str]:
        causes = [NEW_STEPS] if changes.steps != before.denoising_steps else []
        if changes.prompt and changes.mode == "video":
            causes.append(NEW_VIDEO_PROMPT)
        elif changes.prompt and changes.control:
            causes.append(NEW_CONTROL_PROMPT)
        if changes.loras and self.settings.on_lora_change == "cut":
            causes.append(LORA_CHANGE)
        return causes

    def _noise_controller(self, index: int, mode: Mode, overrides: ChunkOverrides) -> bool:
        if mode == "text" and (overrides.noise_scale not in (None, DEFAULT_NOISE_SCALE) or overrides.noise_controller):
            self.diagnostics.problems.append(
                f"{overrides.where}: noise_scale and noise_controller cannot be honoured, chunk {index} has no input "
                "video"
            )
        wanted = self.settings.noise_controller if overrides.noise_controller is None else overrides.noise_controller
        return wanted and mode == "video"


def recache_reason(conditioning: Conditioning) -> str:
    return "transition" if isinstance(conditioning, Transition) else "prompt change"
