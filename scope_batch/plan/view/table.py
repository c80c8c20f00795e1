"""Shows a plan on a terminal: the table of chunks, the chunks of entries, sources, sizes and diagnostics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.filesize import decimal
from rich.text import Text

from scope_batch.core.device_memory import DeviceMemory
from scope_batch.core.file_size import forecast
from scope_batch.core.plan import Plan
from scope_batch.core.sound import SoundTrack
from scope_batch.core.timeline import ClipSource, Placement
from scope_batch.plan.view import text as values
from scope_batch.plan.view.chunk_table import SETTINGS, ChunkTable, constant_setting, distinct_settings
from scope_batch.plan.view.curves import Curves, lora_scales

SHOWN_PLACEMENTS = 24
SHOWN_LANDINGS = 50
MIN_SHARE = 0.01
"""Share of the memory below which a part is not named."""
SHOWN_DIAGNOSTICS = 50
"""Maximum of notes, and of warnings."""


def render_plan(plan: Plan, output_lines: Sequence[Text] = ()) -> Group:
    """Return a plan for a terminal of 80 columns or more; a wider one shows more of the prompts."""
    table = ChunkTable(plan)
    parts: list[RenderableType] = [_headline(plan), table]
    if table.left_out:
        parts.append(Text(f"{table.left_out} rows are left out; --json shows every chunk"))
    if curves := Curves(plan):
        parts.append(curves)
    if plan.landings:
        parts.append(_landings(plan))
    if any(placement.source.kind != "video" for placement in plan.placements) or len(plan.placements) > 1:
        parts.append(_placements(plan.placements))
    if plan.sound is not None:
        parts.append(_sound(plan.sound))
    parts.append(_sizes(plan))
    if plan.memory is not None:
        parts.append(_memory(plan.memory))
    parts += output_lines
    parts += _diagnostic_lines("note", "cyan", plan.notes)
    parts += _diagnostic_lines("warning", "yellow", plan.warnings)
    return Group(*parts)


def _headline(plan: Plan) -> Text:
    """Return the headline, with the values that have no column because they are the same in all chunks."""
    facts = [
        f"{plan.num_frames} frames in {len(plan.chunks)} chunk{'s' if len(plan.chunks) > 1 else ''}",
        f"{plan.width}x{plan.height}",
        f"{values.rate(plan.fps)} fps",
        values.clock(float(plan.num_frames / plan.fps)),
        f"{' and '.join(sorted({chunk.mode for chunk in plan.chunks}))} mode",
    ]
    distinct = distinct_settings(plan.chunks)
    settings = [f"{name} {text}" for name, show in SETTINGS if (text := constant_setting(distinct, show))]
    settings += ["memory bank"] if plan.memory_bank else []
    loras = [f"lora {lora.name} {lora.scales[0]:.2f} ({lora.form})" for lora in lora_scales(plan) if lora.constant]
    lines = [" · ".join(line) for line in (facts, _processing(plan), settings, loras) if line]
    return Text.assemble((plan.pipeline_id, "bold"), "  ", "\n".join(lines))


def _processing(plan: Plan) -> list[str]:
    """Return the processors before and after the pipeline, and the delivered frames if they differ."""
    pre, post = (
        " -> ".join(used.id for used in processors) for processors in (plan.pre_processors, plan.post_processors)
    )
    into = {"video": "input", "vace_frames": "control"}[plan.pre_processor_output]
    delivery = plan.delivery
    parts = [f"{into} through {pre}"] if pre else []
    if post:
        size = (
            ""
            if (delivery.height, delivery.width) == (plan.height, plan.width)
            else f" of {delivery.width}x{delivery.height}"
        )
        parts.append(f"out through {post}: {delivery.frames} frames{size} at {values.rate(delivery.fps)} fps")
    return parts


@dataclass(frozen=True, slots=True)
class Aligned:
    """Rows of texts in columns if the terminal is wide enough, else each row as a line that wraps."""

    rows: Sequence[tuple[str, ...]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = [max(map(cell_len, column)) for column in zip_longest(*self.rows, fillvalue="")]
        if sum(widths) + GAP * len(widths) > options.max_width:
            yield from (Text(" ".join(row)) for row in self.rows)
            return
        for row in self.rows:
            cells = (f"{text}{' ' * (width - cell_len(text))}" for text, width in zip(row, widths, strict=False))
            yield Text((" " * GAP).join(cells).rstrip())


GAP = 2


def _landings(plan: Plan) -> Aligned:
    rows = []
    for landing in plan.landings[:SHOWN_LANDINGS]:
        at = f" ({float(landing.first_frame / plan.fps):.4g} s)" if landing.asked.startswith("time") else ""
        rows.append(
            (
                landing.asked,
                f"-> chunk {landing.chunk}, from frame {landing.first_frame}{at}",
                ", ".join(landing.fields),
            )
        )
    return Aligned([*rows, *_more(len(plan.landings) - SHOWN_LANDINGS)])


def _placements(placements: Sequence[Placement]) -> Aligned:
    """List the sources with the frames that each covers."""
    rows: list[tuple[str, ...]] = []
    for placement in placements[:SHOWN_PLACEMENTS]:
        fills = {"hold": ", held if short", "loop": ", looped if short", "none": ""}
        last = placement.end_frame - 1
        frames = f"frame {last}" if placement.first_frame == last else f"frames {placement.first_frame}-{last}"
        span = f"-> {frames}{fills[placement.fill]}{_picking(placement.source)}"
        rows.append((placement.where.rpartition(": ")[2], placement.source.path.name, span))
    return Aligned([*rows, *_more(len(placements) - SHOWN_PLACEMENTS)])


def _more(number: int) -> list[tuple[str, ...]]:
    return [(f"and {number} more",)] if number > 0 else []


def _picking(source: ClipSource) -> str:
    """Return ", 15 a second from 0:01.00 to 0:02.50": the selected frames; "" if all are used."""
    parts = [f"{values.rate(source.fps)} a second"] if source.fps is not None else []
    parts += [f"from {values.clock(source.start_s)}"] if source.start_s else []
    parts += [f"to {values.clock(source.end_s)}"] if source.end_s is not None else []
    return f", {' '.join(parts)}" if parts else ""


def _sound(track: SoundTrack) -> Text:
    start, end = (values.clock(float(seconds)) for seconds in (track.start_s, track.start_s + track.take_s))
    after = {"loop": f"repeated every {values.clock(float(track.round_s))}", "hold": "its last second held if short"}
    return Text(
        f"sound: {track.path.name} {start} to {end}, {after.get(track.length, 'silence if short')}", style="dim"
    )


def _sizes(plan: Plan) -> Text:
    sizes = forecast(plan)
    return Text(f"size: {decimal(sizes.raw)} as npy, forecast for mp4 about {decimal(sizes.mp4)}", style="dim")


def _memory(memory: DeviceMemory) -> Text:
    """Return the forecast of device memory with its largest parts."""
    parts = {
        "weights": memory.weights + memory.branches,
        "KV cache": memory.kv_cache,
        "VAE streams": memory.vae_streams,
        "texts and latents": memory.text_cache + memory.conditioning + memory.history,
        "processors": memory.processors,
        "working": memory.kernels + memory.transient,
    }
    shares = ", ".join(f"{name} {decimal(size)}" for name, size in parts.items() if size >= MIN_SHARE * memory.peak)
    lines = f"memory: about {decimal(memory.peak)} on the device ({shares})"
    if memory.prompts > memory.peak:
        lines += f"; {decimal(memory.prompts)} while new prompts are encoded"
    if not memory.read:
        lines += "; published sizes are used, as some model files are missing"
    return Text(lines, style="dim")


def _diagnostic_lines(kind: str, style: str, texts: Sequence[str]) -> Iterator[Text]:
    for text in texts[:SHOWN_DIAGNOSTICS]:
        yield Text.assemble((f"{kind}: ", style), text)
    if len(texts) > SHOWN_DIAGNOSTICS:
        yield Text.assemble((f"{kind}: ", style), f"and {len(texts) - SHOWN_DIAGNOSTICS} more; --json lists them all")
