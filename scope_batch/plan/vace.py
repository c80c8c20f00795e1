"""Decides the VACE input of each chunk, after all chunks and sources have been placed."""

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
"""Delivered frames needed to show a last image: its own latent group and the one before."""
NO_VACE_INPUT = {restart: Vace(scale=DEFAULT_SCALE, restart_streams=restart) for restart in (True, False)}
"""`restart_streams` -> a chunk without VACE input."""


def steer(
    job: Job,
    chunks: Sequence[ChunkGrid],
    overrides: Sequence[ChunkOverrides],
    placements: Sequence[Placement],
    diagnostics: Diagnostics,
) -> list[Vace | None]:
    """Return the `vace` of each chunk, with scale 1. `overrides`: one per chunk."""
    control = Coverage((each.first_frame, each.end_frame) for each in placements if each.source.kind in CONTROL)
    vaces: list[Vace] = []
    streams_run, final, idle = False, chunks[-1], NO_VACE_INPUT[True]
    for chunk, own in zip(chunks, overrides, strict=True):
        last = chunk is final
        if own is NO_OVERRIDES and not placements and chunk.index > 0 and not last and not streams_run:
            vaces.append(idle)  # most chunks of a long job
            continue
        timeline = control.covers(chunk.first_frame, chunk.last_frame + 1)
        stills = _stills(job, chunk, own, last=last, diagnostics=diagnostics)
        vace = NO_VACE_INPUT[chunk.cut or not streams_run]
        if timeline or stills or own.reference is not None:
            vace = replace(vace, timeline=timeline, stills=stills, reference=own.reference)
        vaces.append(vace)
        streams_run = vace.has_frames
    vaces = _with_job_reference(job, vaces, diagnostics)
    check_references(vaces, diagnostics)
    warn_gaps(chunks, placements, diagnostics)
    note_gray(placements, diagnostics)
    check_scales(overrides, vaces, diagnostics)
    return [vace if steers(vace) else None for vace in vaces]


def _stills(
    job: Job, chunk: ChunkGrid, overrides: ChunkOverrides, *, last: bool, diagnostics: Diagnostics
) -> tuple[Still, ...]:
    """Place the first image on the first four frames, the last one on the last delivered latent group and after it.

    In a chunk too short for both, an image covers the whole chunk.
    """
    if overrides is NO_OVERRIDES and chunk.index > 0 and not last:
        return ()
    opening = _image(
        job,
        "first_frame_image",
        overrides.first_frame_image,
        chunk,
        use_job=chunk.index == 0,
        diagnostics=diagnostics,
    )
    closing = _image(job, "last_frame_image", overrides.last_frame_image, chunk, use_job=last, diagnostics=diagnostics)
    stills: list[Still] = []
    long_enough = chunk.frames >= 2 * geometry.VACE_STILL_FRAMES
    if opening is not None and closing is not None and not long_enough:
        diagnostics.problems.append(
            f"first_frame_image and last_frame_image both fall in chunk {chunk.index}, whose {chunk.frames} frames are "
            f"too few for two images ({2 * geometry.VACE_STILL_FRAMES} are needed); give each a chunk of its own"
        )
    if opening is not None:
        stills.append(Still(opening, 0, geometry.VACE_STILL_FRAMES if long_enough else chunk.frames))
    if closing is not None:
        start = geometry.latent_group_start(chunk.keep - 1, first=chunk.cut)
        stills.append(Still(closing, start, chunk.frames, closing=True))
        _warn_short(chunk, diagnostics)
        if opening is not None and start < stills[0].end:
            diagnostics.warnings.append(f"last_frame_image covers part of the first image of chunk {chunk.index}")
    return tuple(stills)


def _image(
    job: Job, field: str, own: Path | None, chunk: ChunkGrid, *, use_job: bool, diagnostics: Diagnostics
) -> Path | None:
    """Return the chunk's own image, else the job's if `use_job`."""
    of_job: Path | None = getattr(job, field)
    if not use_job or of_job is None:
        return own
    if own is not None:
        diagnostics.warnings.append(
            f"{place(job, field)}: is not used, the entry of chunk {chunk.index} has its own {field}"
        )
    return own or of_job


def _warn_short(chunk: ChunkGrid, diagnostics: Diagnostics) -> None:
    if chunk.keep >= min(ENOUGH_FRAMES, chunk.frames):
        return
    whole = [length for length in (chunk.first_frame, chunk.first_frame + chunk.frames) if length]
    diagnostics.warnings.append(
        f"last_frame_image: chunk {chunk.index} delivers only {chunk.keep} of its {chunk.frames} frames, "
        f"in which the image is hardly visible; num_frames: {' or '.join(map(str, whole))} fills its last chunk"
    )


def _with_job_reference(job: Job, vaces: list[Vace], diagnostics: Diagnostics) -> list[Vace]:
    """Add the job's reference image to every chunk without other VACE input, or to chunk 0 if there is none."""
    if not job.vace_ref_images:
        return vaces
    (image,) = job.vace_ref_images
    where = place(job, "vace_ref_images")
    free = {index for index, vace in enumerate(vaces) if not steers(vace)}
    if not free and vaces[0].reference is not None:
        diagnostics.warnings.append(
            f"{where}: is not used, every chunk has other VACE input and chunk 0 its own reference"
        )
        return vaces
    if len(free) < len(vaces):
        which = (
            f"acts in {name_chunks(sorted(free))}, which have no other VACE input" if free else "acts in chunk 0 only"
        )
        diagnostics.notes.append(f"{where}: {which}{'' if free else ', every chunk has other VACE input'}")
    else:
        diagnostics.notes.append(f"{where}: acts in every chunk")
    return [replace(vace, reference=image) if index in (free or {0}) else vace for index, vace in enumerate(vaces)]


def steers(vace: Vace) -> bool:
    return vace.has_frames or vace.reference is not None


def check_references(vaces: Sequence[Vace], diagnostics: Diagnostics) -> None:
    """Report references combined with frames: a reference takes the first place of the context, so the rest is shifted
    by one latent frame, and its end is lost."""
    late = [index for index, vace in enumerate(vaces) if vace.reference is not None and vace.has_frames]
    lost = [index for index in late if any(still.closing for still in vaces[index].stills)]
    if lost:
        diagnostics.problems.append(
            f"vace_ref_images and last_frame_image both act in {name_chunks(lost)}: the reference takes the first "
            "place of the context, and the last image would be lost; allowed: one of them in a chunk"
        )
    elif late:
        diagnostics.notes.append(
            f"a reference image takes the first place of the context: in {name_chunks(late)} control and first images "
            "act one latent frame late, and the last latent frame of control has no effect"
        )


def warn_gaps(chunks: Sequence[ChunkGrid], placements: Sequence[Placement], diagnostics: Diagnostics) -> None:
    """Warn about control that ends inside a chunk: the chunk's other frames are gray, to be generated."""
    starts = [chunk.first_frame for chunk in chunks]
    for kind in CONTROL:
        of_kind = [placement for placement in placements if placement.source.kind == kind]
        coverage = Coverage((placement.first_frame, placement.end_frame) for placement in of_kind)
        ends = sorted({placement.end_frame for placement in of_kind})
        continued = {end: coverage.covers(end, end + 1) for end in ends}
        for placement in of_kind:
            chunk = chunks[bisect_right(starts, placement.end_frame) - 1]
            ends_inside = chunk.first_frame < placement.end_frame <= chunk.last_frame
            if ends_inside and not continued[placement.end_frame]:
                rest = "gray" if kind == "control" else "to be generated"
                diagnostics.warnings.append(
                    f"{placement.where}: ends with frame {placement.end_frame - 1}, inside chunk {chunk.index} (frames "
                    f"{chunk.first_frame} to {chunk.last_frame}): from there on the chunk is {rest}"
                )


def note_gray(placements: Sequence[Placement], diagnostics: Diagnostics) -> None:
    kinds = {placement.source.kind for placement in placements}
    if "masks" in kinds and "video" in kinds and "control" not in kinds:
        diagnostics.notes.append(
            "vace_masks without vace_frames: the kept areas are gray, not the input video "
            "(vace_use_input_video: true or vace_frames with the same clip keeps it)"
        )


def check_scales(overrides: Sequence[ChunkOverrides], vaces: Sequence[Vace], diagnostics: Diagnostics) -> None:
    """Report scales of entries whose chunks have no VACE input. (The job's scale is checked with its other fields.)"""
    acting = {own.where for own, vace in zip(overrides, vaces, strict=True) if steers(vace)}
    idle = [
        (index, own)
        for index, own in enumerate(overrides)
        if own.vace_context_scale is not None and own.where not in acting
    ]
    written = [(index, own) for index, own in idle if own.vace_context_scale != DEFAULT_SCALE]
    if idle:
        (_, first), indices = (written or idle)[0], [index for index, _ in written or idle]
        message = f"{first.where}: vace_context_scale has no effect, there is no VACE input in {name_chunks(indices)}"
        (diagnostics.warnings if written else diagnostics.notes).append(message)
