"""The plan for a terminal: a table with the columns that say something, where entries landed, and remarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from rich import box
from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from scope_batch.chunk import Chunk, Plan, Prompt, Transition
from scope_batch.material import Material, Placement
from scope_batch.memory import DeviceMemory
from scope_batch.plan import values
from scope_batch.plan.forecast import forecast
from scope_batch.plan.moving import Curves, lora_scales
from scope_batch.plan.shares import shares_of
from scope_batch.plan.sources import sources_of
from scope_batch.sound import SoundTrack

FOLDED_FROM = 60
"""Plans with more chunks than this show a run of like chunks as one row."""

SHOWN_PLACEMENTS = 24
FIRST_ROWS, LAST_ROWS = 150, 50
"""Of a longer table the rows between these are left out."""
SHOWN_LANDINGS = 50
SHOWN_REMARKS = 50
"""Of notes and of warnings each."""

WIDE_LORAS = 3
"""More changing scales than this wrap."""


@dataclass(frozen=True, slots=True)
class Row:
    """One chunk, or the run of like chunks from `chunk` to `last`. `sources`: what steers them through VACE."""

    chunk: Chunk
    last: Chunk
    shares: tuple[Prompt, ...]
    sources: str


@dataclass(frozen=True, slots=True)
class Column:
    """`ratio`: takes part in the room that is left, and wraps; None: as wide as its widest cell."""

    title: str
    show: Callable[[Row], str]
    justify: Literal["left", "right"] = "left"
    ratio: int | None = None


def render_plan(plan: Plan, written: Sequence[Text] = ()) -> Group:
    """Fits 80 columns; a wider terminal shows more of the prompts. `written`: lines about the outputs."""
    rows = list(_rows(plan))
    distinct = list({_settings(chunk): chunk for chunk in plan.chunks}.values())
    parts: list[RenderableType] = [_headline(plan, distinct), _table(plan, rows, distinct)]
    left_out = len(rows) - FIRST_ROWS - LAST_ROWS
    if left_out > 0:
        parts.append(Text(f"{left_out} rows are left out; --json shows every chunk"))
    if curves := Curves(plan):
        parts.append(curves)
    if plan.landings:
        parts.append(_landings(plan))
    if any(placement.material.kind != "video" for placement in plan.placements) or len(plan.placements) > 1:
        parts.append(_placements(plan.placements))
    if plan.sound is not None:
        parts.append(_sound(plan.sound))
    parts.append(_sizes(plan))
    if plan.memory is not None:
        parts.append(_memory(plan.memory))
    parts += written
    parts += _remarks("note", "cyan", plan.notes)
    parts += _remarks("warning", "yellow", plan.warnings)
    return Group(*parts)


def _headline(plan: Plan, distinct: Sequence[Chunk]) -> Text:
    """Names, too, the values that are the same in all chunks and therefore have no column."""
    facts = [
        f"{plan.num_frames} frames in {len(plan.chunks)} chunk{'s' if len(plan.chunks) > 1 else ''}",
        f"{plan.width}x{plan.height}",
        f"{values.rate(plan.fps)} fps",
        values.clock(float(plan.num_frames / plan.fps)),
        f"{' and '.join(sorted({chunk.mode for chunk in plan.chunks}))} mode",
    ]
    settings = [f"{name} {text}" for name, show in SETTINGS if (text := _constant(distinct, show))]
    settings += ["memory bank"] if plan.memory_bank else []
    loras = [f"lora {lora.name} {lora.scales[0]:.2f} ({lora.form})" for lora in lora_scales(plan) if lora.constant]
    lines = [" · ".join(line) for line in (facts, _processing(plan), settings, loras) if line]
    return Text.assemble((plan.pipeline_id, "bold"), "  ", "\n".join(lines))


def _processing(plan: Plan) -> list[str]:
    """What stands before and behind the pipeline, and what is delivered where that is something else."""
    pre, post = (
        " -> ".join(stage.id for stage in chain.stages) for chain in (plan.pre_processors, plan.post_processors)
    )
    into = {"video": "input", "vace_frames": "control"}[plan.pre_processor_output]
    made = plan.delivery
    said = [f"{into} through {pre}"] if pre else []
    if post:
        size = "" if (made.height, made.width) == (plan.height, plan.width) else f" of {made.width}x{made.height}"
        said.append(f"out through {post}: {made.frames} frames{size} at {values.rate(made.fps)} fps")
    return said


SETTINGS: tuple[tuple[str, Callable[[Chunk], str]], ...] = (
    ("steps", values.steps),
    ("noise", values.noise_scale),
    ("bias", values.attention_bias),
)


def _settings(chunk: Chunk) -> tuple[object, ...]:
    """All that `SETTINGS` show of a chunk."""
    return chunk.denoising_steps, chunk.noise_scale, chunk.noise_controller, chunk.attention_bias


def _constant(distinct: Sequence[Chunk], show: Callable[[Chunk], str]) -> str:
    """The text that all chunks share, or nothing. `distinct`: one chunk for each of the settings that occur."""
    texts = {show(chunk) for chunk in distinct}
    return texts.pop() if len(texts) == 1 else ""


def _rows(plan: Plan) -> Iterator[Row]:
    shares = shares_of(plan.chunks)
    sources = ["+".join(words) for words in sources_of(plan)]
    landed = {landing.chunk for landing in plan.landings}
    fold = len(plan.chunks) > FOLDED_FROM

    def breaks(chunk: Chunk) -> bool:
        before = plan.chunks[chunk.index - 1]
        steered_alike = sources[chunk.index] == sources[before.index] and chunk.vace == before.vace
        landed_on = bool({chunk.index, before.index} & landed)
        return not fold or landed_on or not steered_alike or not _continues(before, chunk)

    runs = 0
    run_of = [runs := runs + breaks(chunk) for chunk in plan.chunks]
    for _, group in groupby(plan.chunks, key=lambda chunk: run_of[chunk.index]):
        members = list(group)
        first = members[0].index
        yield Row(members[0], members[-1], shares[first], sources[first])


def _continues(before: Chunk, chunk: Chunk) -> bool:
    """Whether a chunk is no more than its predecessor leads one to expect."""
    quiet = not (chunk.cut or chunk.text_changed or before.cut or before.text_changed)
    alike = chunk.seed == before.seed and chunk.keep == before.keep
    alike = alike and chunk.noise_scale == before.noise_scale and not chunk.lora_changed
    return quiet and alike and _settings(before) == _settings(chunk)


def _table(plan: Plan, rows: Sequence[Row], distinct: Sequence[Chunk]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    columns = list(_columns(plan, rows, distinct))
    for column in columns:
        table.add_column(column.title, justify=column.justify, ratio=column.ratio, no_wrap=column.ratio is None)
    for number, row in enumerate(rows):
        if FIRST_ROWS <= number < len(rows) - LAST_ROWS:
            if number == FIRST_ROWS:
                table.add_row("…")
            continue
        table.add_row(*(Text(column.show(row)) for column in columns), style=_style(row.chunk))
    return table


def _columns(plan: Plan, rows: Sequence[Row], distinct: Sequence[Chunk]) -> Iterator[Column]:
    yield Column("chunk", lambda row: _span(row.chunk.index, row.last.index), "right")
    yield Column("frames", lambda row: _span(row.chunk.first_frame, row.last.last_frame), "right")
    yield Column("keep", _keep, "right")
    if plan.post_processors.stages and any(plan.delivered(chunk) != _kept(chunk) for chunk in plan.chunks):
        yield Column("out", lambda row: _out(plan, row), "right")
    yield Column("lat", lambda row: str(row.chunk.latents), "right")
    if any(values.event(chunk) for chunk in plan.chunks[1:]):
        yield Column("event", lambda row: values.event(row.chunk), ratio=2)
    yield Column("prompt", _prompt, ratio=3)
    if any(row.sources for row in rows):
        yield Column("vace", _vace, ratio=2)
    yield Column("seed", lambda row: str(row.chunk.noise_seed), "right")
    for name, show in SETTINGS:
        if not _constant(distinct, show) and any(show(chunk) for chunk in distinct):
            yield Column(name, lambda row, show=show: show(row.chunk))  # type: ignore[misc]  # a lambda in a loop
    moving = [lora.scales for lora in lora_scales(plan) if not lora.constant]
    if moving:
        yield Column(
            "lora",
            lambda row: " ".join(f"{scales[row.chunk.index]:.2f}" for scales in moving),
            ratio=None if len(moving) <= WIDE_LORAS else 2,
        )


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _keep(row: Row) -> str:
    """Delivered frames per chunk, of how many made where they differ."""
    made = "" if row.chunk.keep == row.chunk.frames else f"/{row.chunk.frames}"
    return f"{row.chunk.keep}{made}"


def _kept(chunk: Chunk) -> range:
    return range(chunk.first_frame, chunk.first_frame + chunk.keep)


def _out(plan: Plan, row: Row) -> str:
    """Frames of the outputs, numbered from 0; none where a processor holds them back."""
    first, end = plan.delivered(row.chunk).start, plan.delivered(row.last).stop
    return _span(first, end - 1) if end > first else "none"


def _vace(row: Row) -> str:
    """ "control+mask 0.50": what steers, and how strongly where that is not in full."""
    vace = row.chunk.vace
    return row.sources if vace is None or vace.scale == 1 else f"{row.sources} {vace.scale:.2f}"


def _prompt(row: Row) -> str:
    """What is new: nothing where the prompt stays."""
    chunk = row.chunk
    if not chunk.text_changed:
        return ""
    way = chunk.conditioning
    if isinstance(way, Transition):
        target = _blend(way.target.prompts)
        return f"{way.step + 1}/{way.steps} ({way.t:.0%}) to {target}"
    return _blend(row.shares)


def _blend(prompts: Sequence[Prompt]) -> str:
    if len(prompts) == 1:
        return _short(prompts[0].text)
    return " + ".join(f"{prompt.weight:.0%} {_short(prompt.text)}" for prompt in prompts)


def _short(text: str, longest: int = 60) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= longest else flat[: longest - 1].rstrip() + "…"


def _style(chunk: Chunk) -> str | None:
    if chunk.cut and chunk.index > 0:
        return "red"
    return "yellow" if chunk.text_changed and chunk.index > 0 else None


def _landings(plan: Plan) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for landing in plan.landings[:SHOWN_LANDINGS]:
        where = f"chunk {landing.chunk}, from frame {landing.first_frame}"
        table.add_row(Text(landing.asked), Text(f"-> {where}"), Text(", ".join(landing.fields), style="dim"))
    if len(plan.landings) > SHOWN_LANDINGS:
        table.add_row(Text(f"and {len(plan.landings) - SHOWN_LANDINGS} more"))
    return table


def _placements(placements: Sequence[Placement]) -> Table:
    """Which material lies where."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for placement in placements[:SHOWN_PLACEMENTS]:
        fills = {"hold": ", held if short", "loop": ", looped if short", "none": ""}
        field = placement.where.rpartition(": ")[2]
        span = f"-> frames {_span(placement.first_frame, placement.end_frame - 1)}{fills[placement.fill]}"
        table.add_row(Text(field), Text(placement.material.path.name), Text(span + _picking(placement.material)))
    if len(placements) > SHOWN_PLACEMENTS:
        table.add_row(Text(f"and {len(placements) - SHOWN_PLACEMENTS} more"))
    return table


def _picking(material: Material) -> str:
    """ ", 15 a second from 0:01.00 to 0:02.50": which of its frames count, nothing where all do."""
    said = [f"{values.rate(material.fps)} a second"] if material.fps is not None else []
    said += [f"from {values.clock(material.start_s)}"] if material.start_s else []
    said += [f"to {values.clock(material.end_s)}"] if material.end_s is not None else []
    return f", {' '.join(said)}" if said else ""


def _sound(track: SoundTrack) -> Text:
    start, end = (values.clock(float(seconds)) for seconds in (track.start_s, track.start_s + track.take_s))
    after = {"loop": f"over again every {values.clock(float(track.round_s))}", "hold": "its last second held if short"}
    return Text(
        f"sound: {track.path.name} {start} to {end}, {after.get(track.length, 'silence if short')}", style="dim"
    )


def _sizes(plan: Plan) -> Text:
    sizes = forecast(plan)
    return Text(f"size: {decimal(sizes.raw)} as npy, forecast for mp4 about {decimal(sizes.mp4)}", style="dim")


def _memory(memory: DeviceMemory) -> Text:
    """In GB, what lasts apart from what comes and goes."""
    parts = {
        "weights": memory.weights + memory.branches,
        "KV cache": memory.kv_cache,
        "VAE streams": memory.vae_streams,
        "texts and latents": memory.text_cache + memory.conditioning + memory.history,
        "working": memory.transient,
    }
    shares = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in parts.items() if size >= 5e7)
    lines = f"memory: about {memory.peak / 1e9:.1f} GB on the device" + (f" ({shares})" if shares else "")
    if memory.prompts > memory.peak:
        lines += f"; {memory.prompts / 1e9:.1f} GB while new prompts are encoded"
    if not memory.read:
        lines += "; sizes as published, the model files are not all there"
    return Text(lines, style="dim")


def _remarks(kind: str, style: str, texts: Sequence[str]) -> Iterator[Text]:
    for text in texts[:SHOWN_REMARKS]:
        yield Text.assemble((f"{kind}: ", style), text)
    if len(texts) > SHOWN_REMARKS:
        yield Text.assemble((f"{kind}: ", style), f"and {len(texts) - SHOWN_REMARKS} more; --json lists them all")
