"""Writes a job as readable YAML: a comment at the top, remarks after fields, suggestions as comments."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import yaml

from scope_batch.importing.job_fields import Line
from scope_batch.importing.notes import one_line

REMARK_COLUMN = 31
WORDS = frozenset(("pipeline_id", "noise_device", "transition_method", "lora_merge", "vae_type", "quantization"))
"""Fields whose values need no quotes."""
_READ_AS_VARIABLE = re.compile(r"\$(?=[${])")


def job_text(head: Iterable[str], lines: Iterable[Line], entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the file's text. `head`: comment lines; `entries`: those of `chunk_specs`, each with a `remark`."""
    text_lines = [f"# {one_line(text)}".rstrip() for text in head]
    for line in lines:
        text_lines += _field(line)
    if entries:
        text_lines.append("chunk_specs:")
    for entry in entries:
        text_lines += _entry(entry)
    return "\n".join(text_lines) + "\n"


def _field(line: Line) -> Iterator[str]:
    if isinstance(line.value, Mapping):
        yield f"{line.field}:"
        yield from (f"  {quoted(key)}: {flow(value)}" for key, value in line.value.items())
    elif _is_prompts(line.value):
        yield from _prompts(line.field, line.value, "")
    else:
        off = "# " if line.off else ""
        yield _with_remark(f"{off}{line.field}: {_value(line.field, line.value)}", line.remark)


def _entry(entry: Mapping[str, Any]) -> Iterator[str]:
    lead = "  - "
    for name, value in entry.items():
        if name == "remark":
            continue
        if _is_prompts(value):
            yield from _prompts(name, value, lead)
        else:
            yield _with_remark(f"{lead}{name}: {_value(name, value)}", entry["remark"] if lead == "  - " else "")
        lead = "    "


def _prompts(name: str, prompts: Sequence[Mapping[str, Any]], lead: str) -> Iterator[str]:
    yield f"{lead}{name}:"
    yield from (f"{' ' * len(lead)}  - {flow(prompt)}" for prompt in prompts)


def _is_prompts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _with_remark(text: str, remark: str) -> str:
    return f"{text.ljust(REMARK_COLUMN)}# {remark}" if remark else text


def _value(name: str, value: Any) -> str:
    return str(value) if name in WORDS else flow(value)


def flow(value: Any) -> str:
    """Write a value on one line."""
    if isinstance(value, str):
        return quoted(_READ_AS_VARIABLE.sub("$$", value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(flow, value)) + "]"
    return json.dumps(value)


def quoted(text: str) -> str:
    """Write any text in double quotes. Printable characters, also emoji, are not escaped."""
    if text.isprintable():
        return json.dumps(text, ensure_ascii=False)
    return str(yaml.dump(text, default_style='"', allow_unicode=True, width=math.inf)).rstrip("\n")


def rate(fps: Fraction) -> Any:
    """Return frames per second as in a job: 16, 29.97, "30000/1001"."""
    if fps.denominator == 1:
        return fps.numerator
    return float(fps) if Fraction(str(float(fps))) == fps else str(fps)


def number(value: float) -> int | float:
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
