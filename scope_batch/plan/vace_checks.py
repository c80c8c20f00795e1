"""What is worth saying about what steers the chunks through VACE."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from scope_batch.core.plan import Chunk, Vace
from scope_batch.core.timeline import Placement
from scope_batch.plan.coverage import Coverage
from scope_batch.plan.material import CONTROL
from scope_batch.plan.orders import Orders
from scope_batch.plan.remarks import Remarks, name_chunks

DEFAULT_SCALE = 1.0


def steers(vace: Vace) -> bool:
    return vace.has_frames or vace.reference is not None


def check_references(found: Sequence[Vace], remarks: Remarks) -> None:
    """A reference takes the first place of a context; the rest follows one latent frame late, and its end is lost."""
    late = [index for index, vace in enumerate(found) if vace.reference is not None and vace.has_frames]
    lost = [index for index in late if any(still.closing for still in found[index].stills)]
    if lost:
        remarks.problems.append(
            f"vace_ref_images and last_frame_image both act in {name_chunks(lost)}: the reference takes the first "
            "place of the context, and the last image falls off its end; allowed: one of them in a chunk"
        )
    elif late:
        remarks.notes.append(
            f"a reference image takes the first place of the context: in {name_chunks(late)} control and first images "
            "act one latent frame late, and the last latent frame of control has no effect"
        )


def warn_gaps(chunks: Sequence[Chunk], placements: Sequence[Placement], remarks: Remarks) -> None:
    """Control that ends inside a chunk leaves the chunk's other frames gray, to be generated."""
    starts = [chunk.first_frame for chunk in chunks]
    for kind in CONTROL:
        alike = [lies for lies in placements if lies.material.kind == kind]
        coverage = Coverage((lies.first_frame, lies.end_frame) for lies in alike)
        goes_on = {end: coverage.covers(end, end + 1) for end in sorted({lies.end_frame for lies in alike})}
        for lies in alike:
            chunk = chunks[bisect_right(starts, lies.end_frame) - 1]
            ends_inside = chunk.first_frame < lies.end_frame <= chunk.last_frame
            if ends_inside and not goes_on[lies.end_frame]:
                what = "gray" if kind == "frames" else "to be generated"
                remarks.warnings.append(
                    f"{lies.where}: ends with frame {lies.end_frame - 1}, inside chunk {chunk.index} (frames "
                    f"{chunk.first_frame} to {chunk.last_frame}): from there on the chunk is {what}"
                )


def note_gray(placements: Sequence[Placement], remarks: Remarks) -> None:
    kinds = {lies.material.kind for lies in placements}
    if "masks" in kinds and "video" in kinds and "frames" not in kinds:
        remarks.notes.append(
            "vace_masks without vace_frames: what a mask keeps is gray, not the input video "
            "(vace_use_input_video: true or vace_frames with the same clip keeps it)"
        )


def check_scales(orders: Sequence[Orders], found: Sequence[Vace], remarks: Remarks) -> None:
    """An entry's scale needs something to scale in one of its chunks. (The job's is checked with its other fields.)"""
    acting = {order.where for order, vace in zip(orders, found, strict=True) if steers(vace)}
    idle = [
        (index, order)
        for index, order in enumerate(orders)
        if order.vace_context_scale is not None and order.where not in acting
    ]
    written = [(index, order) for index, order in idle if order.vace_context_scale != DEFAULT_SCALE]
    if idle:
        (_, first), indices = (written or idle)[0], [index for index, _ in written or idle]
        said = f"{first.where}: vace_context_scale has no effect, nothing steers {name_chunks(indices)}"
        (remarks.warnings if written else remarks.notes).append(said)
