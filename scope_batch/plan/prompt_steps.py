"""Decides the prompt, blend or transition step of each chunk, and reports doubtful texts and weights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from scope_batch.core.conditioning import Blend, BlendMethod, Conditioning, Prompt, Transition
from scope_batch.plan.chunk_overrides import ChunkOverrides
from scope_batch.plan.diagnostics import Diagnostics, counted, name_chunks, place

if TYPE_CHECKING:
    from scope_batch.job import Job


@dataclass(frozen=True, slots=True)
class RunningTransition:
    """A running transition: `step` is the next one of `steps` >= 2, the first of which was in `first_chunk`."""

    source: Blend | int
    target: Blend
    method: BlendMethod
    steps: int
    step: int
    first_chunk: int
    where: str

    def at(self, t: float) -> Transition:
        return Transition(self.source, self.target, self.method, self.step, self.steps, t)


@dataclass(slots=True)
class PromptSteps:
    """Decides the conditioning of one chunk after another: `take` first reads its overrides, then `resolve` decides.

    method    the job's, for prompts without one.
    opening   the job's prompts, used from chunk 0 on unless its entry sets others.
    in_force  conditioning of the previous chunk; that of a finished transition is its target.
    running   the transition that the next chunk continues.
    method_used  prompts were blended with `method`.
    """

    method: BlendMethod
    opening: tuple[Prompt, ...]
    diagnostics: Diagnostics
    in_force: Conditioning | None = None
    running: RunningTransition | None = None
    linear_slerps: list[int] = field(default_factory=list)
    method_used: bool = False
    _target: Blend | None = None

    def take(self, chunk: int, overrides: ChunkOverrides) -> bool:
        """Take the chunk's overrides; return True if they change the prompt without a transition."""
        self._target = None
        prompts = overrides.prompts or (self.opening if chunk == 0 else None)
        if prompts is not None:
            self.method_used = self.method_used or overrides.prompt_interpolation_method is None
            self._target = self._blend(chunk, prompts, overrides.prompt_interpolation_method or self.method)
        elif overrides.prompt_interpolation_method is not None:
            self._reblend(chunk, overrides.prompt_interpolation_method)
        if self._target is not None and is_same(self._target, self.in_force):
            self._target = None
            if overrides.wants_transition:
                self.diagnostics.notes.append(
                    f"{overrides.where}: transition_num_steps has no effect: the prompt is in force already"
                )
        return self._target is not None and not overrides.wants_transition

    def resolve(self, chunk: int, overrides: ChunkOverrides, *, cut: bool, last: bool) -> tuple[Conditioning, bool]:
        """Return the conditioning of the chunk, and whether it differs from the previous chunk's."""
        if cut:
            return self._resolve_cut(chunk, overrides)
        if self._target is not None:
            self._warn_replaced(chunk, overrides)
            self.running = self._begin(chunk, overrides, self._target) if overrides.wants_transition else None
            if self.running is None:
                self.in_force = self._target
                return self._target, True
        if self.running is not None:
            return self._step(chunk, self.running, last), True
        assert self.in_force is not None
        return self.in_force, False

    def note_slerps(self) -> None:
        if self.linear_slerps:
            where = name_chunks(self.linear_slerps)
            self.diagnostics.notes.append(
                f"prompt_interpolation_method: slerp blends two prompts; another number is blended linearly ({where})"
            )

    def _reblend(self, chunk: int, method: BlendMethod) -> None:
        """Blend the current prompts, or the target of a running transition, with a new method."""
        if self.running is None:
            assert isinstance(self.in_force, Blend)
            self._target = self._blend(chunk, self.in_force.prompts, method)
        else:
            target = self._blend(chunk, self.running.target.prompts, method)
            self.running = replace(self.running, target=target)

    def _blend(self, chunk: int, prompts: tuple[Prompt, ...], method: BlendMethod) -> Blend:
        if method == "slerp" and len(prompts) != 2:
            self.linear_slerps.append(chunk)
        return make_blend(prompts, method)

    def _begin(self, chunk: int, overrides: ChunkOverrides, target: Blend) -> RunningTransition:
        assert self.in_force is not None and overrides.transition_num_steps is not None
        # A transition was interrupted: the new one starts from the step of the chunk before.
        source = chunk - 1 if isinstance(self.in_force, Transition) else self.in_force
        return RunningTransition(
            source, target, overrides.transition_method, overrides.transition_num_steps, 0, chunk, overrides.where
        )

    def _step(self, chunk: int, running: RunningTransition, last: bool) -> Transition:
        finishes = running.step == running.steps - 1
        if last and not finishes:
            self._warn_short(chunk, running)
        step = running.at(1.0 if last or finishes else running.step / (running.steps - 1))
        self.running = None if finishes else replace(running, step=running.step + 1)
        self.in_force = running.target if finishes else step
        return step

    def _resolve_cut(self, chunk: int, overrides: ChunkOverrides) -> tuple[Conditioning, bool]:
        """Resolve a chunk that begins with a cut: no transition crosses it, so its target applies at once."""
        before = self.in_force
        if self._target is not None and overrides.wants_transition:
            reason = "the job starts here" if chunk == 0 else "the sequence restarts here"
            self.diagnostics.warnings.append(
                f"{overrides.where}: transition_num_steps has no effect: a transition cannot start on chunk {chunk} "
                f"({reason}), its target is in force at once"
            )
        elif self._target is None and self.running is not None:
            self.diagnostics.warnings.append(
                f"{self.running.where}: the cut at chunk {chunk} ends the transition on its target "
                f"after {self.running.step} of {self.running.steps} steps"
            )
        target = self._target or (self.running.target if self.running else before)
        assert target is not None
        self.in_force, self.running = target, None
        return target, target != before

    def _warn_replaced(self, chunk: int, overrides: ChunkOverrides) -> None:
        if self.running is not None:
            self.diagnostics.warnings.append(
                f"{self.running.where}: {overrides.where} at chunk {chunk} takes over after {self.running.step} of "
                f"{self.running.steps} steps of the transition: its target is never reached"
            )

    def _warn_short(self, chunk: int, running: RunningTransition) -> None:
        fit = chunk - running.first_chunk + 1
        self.diagnostics.warnings.append(
            f"{running.where}: the transition asks for {running.steps} steps and the job ends after "
            f"{counted(fit, 'step')}: its last chunk shows the target (transition_num_steps: {fit} would fit)"
        )


SAME_WEIGHT = 1e-9


def make_blend(prompts: tuple[Prompt, ...], method: BlendMethod) -> Blend:
    """Return a blend. Slerp needs two prompts; any other number is blended linearly."""
    return Blend(prompts, method if len(prompts) == 2 else "linear")


def is_same(blend: Blend, other: Conditioning | None) -> bool:
    """Return True if `other` is the same blend, up to rounding of the weights."""
    return (
        isinstance(other, Blend)
        and blend.method == other.method
        and len(blend.prompts) == len(other.prompts)
        and all(
            a.text == b.text and abs(a.weight - b.weight) < SAME_WEIGHT
            for a, b in zip(blend.prompts, other.prompts, strict=True)
        )
    )


Texts = tuple[tuple[str, float], ...]
_LORA = re.compile(r"<(?:lora|lyco|hypernet):[^<>]*>", re.IGNORECASE)
_EMPHASIS = re.compile(r"[(\[][^()\[\]]+:\d*\.\d+[)\]]")
"""Weights as in ComfyUI and A1111: (a cat:1.2), [a cat:0.5]."""


def check_prompts(job: Job, diagnostics: Diagnostics) -> None:
    for where, texts in _prompts_of(job):
        for index, (text, weight) in enumerate(texts):
            prompt_place = where if len(texts) == 1 else f"{where}[{index}]"
            _check_text(prompt_place, text, diagnostics)
            if weight == 0:
                diagnostics.notes.append(f"{prompt_place} has no effect: its weight is 0")
            elif len(texts) == 1 and weight != 1:
                diagnostics.notes.append(f"{prompt_place}: weight has no effect: there is only one prompt")


def _check_text(where: str, text: str, diagnostics: Diagnostics) -> None:
    if not text.strip():
        diagnostics.warnings.append(f"{where}: is empty, so the picture has no prompt")
    if match := _LORA.search(text):
        diagnostics.warnings.append(
            f"{where}: {match[0]} does not load a LoRA, it is read as plain words (lora_scales loads one)"
        )
    if match := _EMPHASIS.search(text):
        diagnostics.notes.append(
            f"{where}: {match[0]} is not a weight, it is read as plain words (prompts may have a weight)"
        )


def _prompts_of(job: Job) -> Iterator[tuple[str, Texts]]:
    """Yield (place, texts with their weights) of every field that holds prompts."""
    yield place(job, "prompt"), tuple((prompt.text, prompt.weight) for prompt in job.prompt)
    for index, entry in enumerate(job.chunk_specs):
        if entry.text is not None:
            yield place(job, "chunk_specs", index, "text"), ((entry.text, 1.0),)
        for name in ("prompts", "transition_target_prompts"):
            if (prompts := getattr(entry, name)) is not None:
                texts = tuple((prompt.text, prompt.weight) for prompt in prompts)
                yield place(job, "chunk_specs", index, name), texts
