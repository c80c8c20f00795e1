"""The single pass from left to right that turns a job into chunks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scope_batch.chunk import NEW_VIDEO_PROMPT, Chunk, ClipFacts, Conditioning, Landing, Plan, Transition
from scope_batch.pipelines.spec import PipelineSpec
from scope_batch.plan import capabilities, checks
from scope_batch.plan.cuts import LORA_CHANGE, NEW_STEPS, RESET, START
from scope_batch.plan.dials import Dials, read_dials
from scope_batch.plan.entries import Agenda, merge, read_entries
from scope_batch.plan.orders import Orders, read_orders
from scope_batch.plan.prompting import Prompting
from scope_batch.plan.remarks import Remarks
from scope_batch.plan.settings import Settings, mode_of, resolve

if TYPE_CHECKING:
    from scope_batch.job import Job


def plan_job(job: Job, spec: PipelineSpec, clip: ClipFacts | None) -> Plan:
    """Plan every chunk. Pure: reads no file. `clip` is required when the job has an input video.

    Raises JobError (every problem on its own line) for a job that cannot be rendered as it is written.
    """
    remarks = Remarks()
    capabilities.check(job, capabilities.Context(mode_of(job), spec), remarks)
    settings = resolve(job, spec, clip)
    checks.check_clip(job, settings, clip, remarks)
    entries = read_entries(job, settings.fps, settings.num_frames, remarks)
    remarks.refuse()
    prompting = Prompting(settings.blend_method, settings.prompts, remarks)
    walk = Walk(settings, Agenda(entries), remarks, prompting, read_dials(job, settings, remarks))
    walk.run()
    chunks, loras = walk.dials.fill(walk.chunks)
    checks.check_chunks(job, chunks, settings, remarks)
    remarks.refuse()
    return Plan(
        pipeline_id=spec.id,
        num_frames=settings.num_frames,
        fps=settings.fps,
        height=settings.height,
        width=settings.width,
        chunks=tuple(chunks),
        loras=loras,
        landings=tuple(walk.landings),
        notes=tuple(remarks.notes),
        warnings=tuple(remarks.warnings),
    )


@dataclass(slots=True)
class Walk:
    """The state between one chunk and the next."""

    settings: Settings
    agenda: Agenda
    remarks: Remarks
    prompting: Prompting
    dials: Dials
    chunks: list[Chunk] = field(default_factory=list)
    landings: list[Landing] = field(default_factory=list)

    def run(self) -> None:
        first_frame = start_latent = 0
        while first_frame < self.settings.num_frames:
            chunk = self._chunk(len(self.chunks), first_frame, start_latent)
            self.chunks.append(chunk)
            first_frame += chunk.frames
            start_latent = chunk.start_latent + chunk.latents
        self.prompting.note_slerps()
        self.agenda.report_left(len(self.chunks), self.remarks)

    def _chunk(self, index: int, first_frame: int, start_latent: int) -> Chunk:
        settings, spec, mode = self.settings, self.settings.spec, self.settings.mode
        reach = spec.chunk_frames(mode, first=index == 0)
        orders = self._orders(index, first_frame, reach)
        loras_move = self.dials.land(index, first_frame, reach, index, orders)
        steps = orders.denoising_steps or settings.denoising_steps
        new_prompt = self.prompting.ask(index, orders)
        cut_reason = self._cut_reason(orders, steps, new_prompt, loras_move)
        cut = cut_reason is not None
        frames = spec.chunk_frames(mode, first=cut)
        conditioning, text_changed = self.prompting.settle(
            index, orders, cut=cut, last=first_frame + frames >= settings.num_frames
        )
        recached = text_changed and not cut and spec.on_prompt_change == "recache"
        return Chunk(
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
            seed=settings.seeds.at(index) if orders.seed is None else orders.seed,
            denoising_steps=steps,
            noise_scale=None,
            noise_controller=self._noise_controller(orders),
        )

    def _orders(self, index: int, first_frame: int, reach: int) -> Orders:
        entries = self.agenda.take(index, first_frame, reach)
        for entry in entries:
            self.landings.append(Landing(entry.asked, index, first_frame, tuple(entry.values)))
        where = " + ".join(entry.label for entry in entries)
        return read_orders(merge(entries, index, self.remarks), where, self.remarks)

    def _cut_reason(self, orders: Orders, steps: tuple[int, ...], new_prompt: bool, loras_move: bool) -> str | None:
        if not self.chunks:
            return START
        if orders.reset_cache:
            return RESET
        if not (self.settings.manage_cache if orders.manage_cache is None else orders.manage_cache):
            return None
        reasons = [NEW_STEPS] if steps != self.chunks[-1].denoising_steps else []
        if new_prompt and self.settings.mode == "video":
            reasons.append(NEW_VIDEO_PROMPT)
        if loras_move and self.settings.on_lora_change == "cut":
            reasons.append(LORA_CHANGE)
        return " and ".join(reasons) or None

    def _noise_controller(self, orders: Orders) -> bool:
        wanted = self.settings.noise_controller if orders.noise_controller is None else orders.noise_controller
        return wanted and self.settings.mode == "video"


def recache_reason(conditioning: Conditioning) -> str:
    return "transition" if isinstance(conditioning, Transition) else "prompt change"
