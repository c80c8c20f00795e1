"""Decides how each chunk is steered through VACE, once all chunks and sources have their places."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.core import geometry
from scope_batch.core.plan import ChunkGrid, Still, Vace
from scope_batch.core.timeline import Coverage, Placement
from scope_batch.plan.chunk_overrides import NO_OVERRIDES, ChunkOverrides
from scope_batch.plan.diagnostics import Diagnostics, name_chunks, place
from scope_batch.plan.material_fields import CONTROL
from scope_batch.plan.settings import default_of

if TYPE_CHECKING:
    from scope_batch.job import Job

DEFAULT_SCALE: float = default_of("vace_context_scale")
ENOUGH_FRAMES = 8
"""Delivered frames that show a last image well: its own latent group and one that leads to it."""
IDLE = {restart: Vace(scale=DEFAULT_SCALE, restart_streams=restart) for restart in (True, False)}
"""A chunk that nothing steers, by `restart_streams`."""


def steer(
    job: Job,
    chunks: Sequence[ChunkGrid],
    overrides: Sequence[ChunkOverrides],
    placements: Sequence[Placement],
    diagnostics: Diagnostics,
) -> list[Vace | None]:
    """The `vace` of each chunk; its scale is still 1. `overrides`: one per chunk."""
    control = Coverage((lies.first_frame, lies.end_frame) for lies in placements if lies.source.kind in CONTROL)
    found: list[Vace] = []
    fed, final, idle = False, chunks[-1], IDLE[True]
    for chunk, order in zip(chunks, overrides, strict=True):
        last = chunk is final
        if order is NO_OVERRIDES and not placements and chunk.index > 0 and not last and not fed:
            found.append(idle)  # most chunks of a long job
            continue
        timeline = control.covers(chunk.first_frame, chunk.last_frame + 1)
        stills = _stills(job, chunk, order, last=last, diagnostics=diagnostics)
        vace = IDLE[chunk.cut or not fed]
        if timeline or stills or order.reference is not None:
            vace = replace(vace, timeline=timeline, stills=stills, reference=order.reference)
        found.append(vace)
        fed = vace.has_frames
    found = _with_job_reference(job, found, diagnostics)
    check_references(found, diagnostics)
    warn_gaps(chunks, placements, diagnostics)
    note_gray(placements, diagnostics)
    check_scales(overrides, found, diagnostics)
    return [vace if steers(vace) else None for vace in found]


def _stills(
    job: Job, chunk: ChunkGrid, overrides: ChunkOverrides, *, last: bool, diagnostics: Diagnostics
) -> tuple[Still, ...]:
    """The first image on the first four frames, the last one from the latent group of the last delivered frame on.

    A chunk without room for both belongs to one of them whole.
    """
    if overrides is NO_OVERRIDES and chunk.index > 0 and not last:
        return ()
    opening = _image(
        job,
        "first_frame_image",
        overrides.first_frame_image,
        chunk,
        its_place=chunk.index == 0,
        diagnostics=diagnostics,
    )
    closing = _image(
        job, "last_frame_image", overrides.last_frame_image, chunk, its_place=last, diagnostics=diagnostics
    )
    stills: list[Still] = []
    roomy = chunk.frames >= 2 * geometry.VACE_STILL_FRAMES
    if opening is not None and closing is not None and not roomy:
        diagnostics.problems.append(
            f"first_frame_image and last_frame_image both fall in chunk {chunk.index}, whose {chunk.frames} frames are "
            f"too few for two images ({2 * geometry.VACE_STILL_FRAMES} are needed); give each a chunk of its own"
        )
    if opening is not None:
        stills.append(Still(opening, 0, geometry.VACE_STILL_FRAMES if roomy else chunk.frames))
    if closing is not None:
        start = geometry.latent_group_start(chunk.keep - 1, first=chunk.cut)
        stills.append(Still(closing, start, chunk.frames, closing=True))
        _warn_short(chunk, diagnostics)
        if opening is not None and start < stills[0].end:
            diagnostics.warnings.append(f"last_frame_image lies over the first image of chunk {chunk.index}")
    return tuple(stills)


def _image(
    job: Job, field: str, own: Path | None, chunk: ChunkGrid, *, its_place: bool, diagnostics: Diagnostics
) -> Path | None:
    """The chunk's own image, else the job's where its place is."""
    whole: Path | None = getattr(job, field)
    if not its_place or whole is None:
        return own
    if own is not None:
        diagnostics.warnings.append(
            f"{place(job, field)}: is not used, the entry of chunk {chunk.index} has its own {field}"
        )
    return own or whole


def _warn_short(chunk: ChunkGrid, diagnostics: Diagnostics) -> None:
    if chunk.keep >= min(ENOUGH_FRAMES, chunk.frames):
        return
    whole = [length for length in (chunk.first_frame, chunk.first_frame + chunk.frames) if length]
    diagnostics.warnings.append(
        f"last_frame_image: chunk {chunk.index} delivers only {chunk.keep} of its {chunk.frames} frames, "
        f"in which the image will hardly show; num_frames: {' or '.join(map(str, whole))} fills its last chunk"
    )


def _with_job_reference(job: Job, found: list[Vace], diagnostics: Diagnostics) -> list[Vace]:
    """The job's reference image: in every chunk that nothing else steers, or in chunk 0 if something steers all."""
    if not job.vace_ref_images:
        return found
    (image,) = job.vace_ref_images
    where = place(job, "vace_ref_images")
    free = {index for index, vace in enumerate(found) if not steers(vace)}
    if not free and found[0].reference is not None:
        diagnostics.warnings.append(
            f"{where}: is not used, every chunk has other VACE input and chunk 0 its own reference"
        )
        return found
    if len(free) < len(found):
        which = f"acts in {name_chunks(sorted(free))}, which nothing else steers" if free else "acts in chunk 0 only"
        diagnostics.notes.append(f"{where}: {which}{'' if free else ', every chunk has other VACE input'}")
    else:
        diagnostics.notes.append(f"{where}: acts in every chunk")
    return [replace(vace, reference=image) if index in (free or {0}) else vace for index, vace in enumerate(found)]


def steers(vace: Vace) -> bool:
    return vace.has_frames or vace.reference is not None


def check_references(found: Sequence[Vace], diagnostics: Diagnostics) -> None:
    """A reference takes the first place of a context; the rest follows one latent frame late, and its end is lost."""
    late = [index for index, vace in enumerate(found) if vace.reference is not None and vace.has_frames]
    lost = [index for index in late if any(still.closing for still in found[index].stills)]
    if lost:
        diagnostics.problems.append(
            f"vace_ref_images and last_frame_image both act in {name_chunks(lost)}: the reference takes the first "
            "place of the context, and the last image falls off its end; allowed: one of them in a chunk"
        )
    elif late:
        diagnostics.notes.append(
            f"a reference image takes the first place of the context: in {name_chunks(late)} control and first images "
            "act one latent frame late, and the last latent frame of control has no effect"
        )


def warn_gaps(chunks: Sequence[ChunkGrid], placements: Sequence[Placement], diagnostics: Diagnostics) -> None:
    """Control that ends inside a chunk leaves the chunk's other frames gray, to be generated."""
    starts = [chunk.first_frame for chunk in chunks]
    for kind in CONTROL:
        alike = [lies for lies in placements if lies.source.kind == kind]
        coverage = Coverage((lies.first_frame, lies.end_frame) for lies in alike)
        goes_on = {end: coverage.covers(end, end + 1) for end in sorted({lies.end_frame for lies in alike})}
        for lies in alike:
            chunk = chunks[bisect_right(starts, lies.end_frame) - 1]
            ends_inside = chunk.first_frame < lies.end_frame <= chunk.last_frame
            if ends_inside and not goes_on[lies.end_frame]:
                what = "gray" if kind == "frames" else "to be generated"
                diagnostics.warnings.append(
                    f"{lies.where}: ends with frame {lies.end_frame - 1}, inside chunk {chunk.index} (frames "
                    f"{chunk.first_frame} to {chunk.last_frame}): from there on the chunk is {what}"
                )


def note_gray(placements: Sequence[Placement], diagnostics: Diagnostics) -> None:
    kinds = {lies.source.kind for lies in placements}
    if "masks" in kinds and "video" in kinds and "frames" not in kinds:
        diagnostics.notes.append(
            "vace_masks without vace_frames: what a mask keeps is gray, not the input video "
            "(vace_use_input_video: true or vace_frames with the same clip keeps it)"
        )


def check_scales(overrides: Sequence[ChunkOverrides], found: Sequence[Vace], diagnostics: Diagnostics) -> None:
    """An entry's scale needs something to scale in one of its chunks. (The job's is checked with its other fields.)"""
    acting = {order.where for order, vace in zip(overrides, found, strict=True) if steers(vace)}
    idle = [
        (index, order)
        for index, order in enumerate(overrides)
        if order.vace_context_scale is not None and order.where not in acting
    ]
    written = [(index, order) for index, order in idle if order.vace_context_scale != DEFAULT_SCALE]
    if idle:
        (_, first), indices = (written or idle)[0], [index for index, _ in written or idle]
        said = f"{first.where}: vace_context_scale has no effect, nothing steers {name_chunks(indices)}"
        (diagnostics.warnings if written else diagnostics.notes).append(said)
