"""Writes a film as one HTML page that needs no other file: sheet, curves, prompts, chunks, and the job to copy."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image

from scope_batch.media.figures import ChunkFigures
from scope_batch.plan.view import text
from scope_batch.plan.view.film_map import FilmMap
from scope_batch.review.observer import Switch

CURVES = (
    ("Colour", ("red", "green", "blue"), "mean of each channel, 0 to 255"),
    ("Contrast", ("contrast",), "standard deviation of the luma, in levels"),
    ("Sharpness", ("sharpness",), "mean difference of adjacent pixels, in levels"),
    ("Motion", ("motion",), "mean difference to the frame before, in levels"),
    ("Flicker", ("flicker",), "jump where a chunk begins, in multiples of the motion around it; about 1 is unseen"),
)
COLOURS = {"red": "#e05252", "green": "#3fa65a", "blue": "#4b7be0"}
PLAIN = "#d08a1e"
_WIDTH, _HEIGHT = 600, 120
_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1f; --dim: #6a6a72; --paper: #fff; --line: #d9d9de; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf0; --dim: #9a9aa4; --paper: #18181b; --line: #36363c; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  padding: 16px; max-width: 1340px; }
h1 { font-size: 22px; margin: 8px 0; overflow-wrap: anywhere; } h2 { font-size: 17px; margin: 28px 0 8px; }
p { margin: 4px 0; color: var(--dim); } img { max-width: 100%; height: auto; border-radius: 4px; }
.sheet { min-width: 760px; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); gap: 16px; }
figure { margin: 0; } figcaption { color: var(--dim); font-size: 13px; } figcaption b { color: var(--ink); }
polyline { stroke-width: 2; } svg { width: 100%; height: auto; display: block; border-bottom: 1px solid var(--line); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; white-space: nowrap; }
td, th { padding: 3px 10px; text-align: right; border-bottom: 1px solid var(--line); }
td.text, th.text { text-align: left; white-space: normal; min-width: 180px; }
pre { overflow-x: auto; padding: 12px; border: 1px solid var(--line); border-radius: 4px; font-size: 13px; }
"""


@dataclass(frozen=True, slots=True)
class Review:
    """All that a report shows.

    seconds  chunk -> how long it took to make; empty where nothing tells.
    job      the job as YAML, "" if the film carries none.
    """

    name: str
    frames: int
    size: tuple[int, int]
    sheet: Image.Image
    figures: Sequence[ChunkFigures]
    map: FilmMap | None
    switches: Sequence[Switch] = ()
    seconds: Mapping[int, float] | None = None
    job: str = ""


def html_page(review: Review) -> str:
    """Return the page. It loads nothing from anywhere."""
    height, width = review.size
    rate = "" if review.map is None else f" at {text.rate(review.map.fps)} frames per second"
    chunks = "" if review.map is None else f", {len(review.map.chunk_frames)} chunks"
    parts = [
        f"<h1>{escape(review.name)}</h1>",
        f"<p>{review.frames} frames of {width}x{height}{rate}{chunks}</p>",
        "<h2>Contact sheet</h2>",
        f'<div class="scroll"><img class="sheet" alt="contact sheet" src="{_data_url(review.sheet)}"></div>',
        "<p>A mark stands before the first frame of a chunk: green, or red after a cut.</p>"
        if review.map is not None
        else "",
        _prompts(review),
        f'<h2>From chunk to chunk</h2><div class="curves">{"".join(_curve(review, *curve) for curve in CURVES)}</div>',
        _table(review),
        f"<h2>Job</h2><pre>{escape(review.job)}</pre>" if review.job else "",
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{escape(review.name)}</title><style>{_STYLE}</style>"
    body = "\n".join(part for part in parts if part)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _data_url(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode('ascii')}"


def _prompts(review: Review) -> str:
    if review.map is None:
        return ""
    late = {switch.frame: switch.late for switch in review.switches}
    rows = []
    for frame, prompt in review.map.prompts:
        at = text.clock(float(frame / review.map.fps))
        seen = "" if frame == 0 else _lateness(late.get(frame))
        rows.append(f'<tr><td>{frame}</td><td>{at}</td><td>{seen}</td><td class="text">{escape(prompt)}</td></tr>')
    head = '<tr><th>frame</th><th>time</th><th>visible</th><th class="text">prompt</th></tr>'
    return f'<h2>Prompts</h2><div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _lateness(frames: int | None) -> str:
    if frames is None:
        return "not seen"
    return f"{frames} frame{'s' * (frames != 1)} later" if frames else "at once"


def _curve(review: Review, title: str, names: Sequence[str], meaning: str) -> str:
    series = {name: [(found.chunk, getattr(found, name)) for found in review.figures] for name in names}
    values = [value for points in series.values() for _, value in points if value is not None]
    if not values:
        return ""
    top, last = max(values) * 1.1 or 1.0, max(review.figures[-1].chunk, 1)
    marks = "" if review.map is None else "".join(_marks(review.map, last))
    lines = "".join(
        f'<polyline fill="none" stroke="{COLOURS.get(name, PLAIN)}" points="{_points(points, top, last)}"/>'
        for name, points in series.items()
    )
    told = f"<b>{title}</b> {min(values):.3g} to {max(values):.3g} ({meaning})"
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}"'
    return f"<figure><figcaption>{told}</figcaption><svg {box}>{marks}{lines}</svg></figure>"


def _points(points: Sequence[tuple[int, float | None]], top: float, last: int) -> str:
    shown = [(chunk * _WIDTH / last, _HEIGHT * (1 - value / top)) for chunk, value in points if value is not None]
    if len(shown) == 1:  # a line of one point would not be seen
        shown.append((shown[0][0] + _WIDTH / 50, shown[0][1]))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in shown)


def _marks(film: FilmMap, last: int) -> list[str]:
    """A thin line where a prompt begins, and a red one at every cut."""
    found = [(film.chunk_at(frame), "#999") for frame in film.prompt_changes()]
    found += [(film.chunk_at(frame), COLOURS["red"]) for frame in film.cuts]
    return [
        f'<line x1="{chunk * _WIDTH / last:.1f}" x2="{chunk * _WIDTH / last:.1f}" y1="0" y2="{_HEIGHT}" '
        f'stroke="{colour}" stroke-dasharray="3 3"/>'
        for chunk, colour in found
    ]


def _table(review: Review) -> str:
    seconds = review.seconds or {}
    names = ("red", "green", "blue", "contrast", "sharpness", "motion", "flicker")
    heads = ["chunk", "frames", *(["seconds"] if seconds else []), *names]
    spans = {} if review.map is None else dict(enumerate(_spans(review.map)))
    rows = []
    for found in review.figures:
        cells = [str(found.chunk), spans.get(found.chunk, "")]
        cells += [_number(seconds.get(found.chunk))] if seconds else []
        cells += [_number(getattr(found, name)) for name in names]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f'<h2>Chunks</h2><div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _spans(film: FilmMap) -> list[str]:
    pairs = zip(film.first_frames, film.chunk_frames, strict=True)
    return [f"{first} to {first + count - 1}" if count else "none" for first, count in pairs]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
