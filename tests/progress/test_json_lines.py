from __future__ import annotations

import io
import json

from scope_batch.events import Stage, Warned
from scope_batch.progress import JsonLines, Reporter, TolerantStream


def test_each_line_is_an_event_with_its_time_and_job(clock, started):
    out = io.StringIO()
    report = Reporter([JsonLines(TolerantStream(out), "cat.yaml", clock(), clock)], clock)
    report(started)
    clock.pass_(1.25)
    report(Stage(1, "denoising", 2, 4))
    report.note("finishing chunk 2")
    first, second, third = map(json.loads, out.getvalue().splitlines())
    assert first == {"t": 0, "job": "cat.yaml", **json.loads(json.dumps(started.to_json()))}
    assert second == {"t": 1.25, "job": "cat.yaml", "event": "stage", "chunk": 1, "stage": "denoising"} | {
        "step": 2,
        "steps": 4,
    }
    assert third == {"t": 1.25, "job": "cat.yaml", "event": "note", "message": "finishing chunk 2"}


def test_lines_are_ascii_and_compact(clock):
    out = io.StringIO()
    report = Reporter([JsonLines(TolerantStream(out), "ü.yaml", clock(), clock)], clock)
    report(Warned("line\nbreak \udcff"))
    assert out.getvalue().isascii() and out.getvalue().count("\n") == 1 and ": " not in out.getvalue()
