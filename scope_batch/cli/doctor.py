"""`doctor`: prints the findings about this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from scope_batch.cli.documents import print_json, print_lines
from scope_batch.doctor import examine
from scope_batch.doctor.finding import Finding
from scope_batch.errors import EXIT_CHECK_FAILED, EXIT_OK

_SHOWN = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fault": ("FAULT", "bold red")}


def print_findings(models: str | None, *, render: bool, as_json: bool) -> int:
    """Print each finding as soon as it is known, or all as JSON. Returns the exit code: 1 if there is a fault."""
    findings: list[Finding] = []
    for finding in examine(models, Path.cwd(), render=render):
        findings.append(finding)
        if not as_json:
            print_lines(_lines(finding))
    faults = sum(finding.state == "fault" for finding in findings)
    warned = sum(finding.state == "warn" for finding in findings)
    if as_json:
        print_json({"ok": not faults, "findings": [asdict(finding) for finding in findings]})
    else:
        print_lines([Text(f"{_count(faults, 'fault')}, {_count(warned, 'warning')}")])
    return EXIT_CHECK_FAILED if faults else EXIT_OK


def _lines(finding: Finding) -> Iterator[Text]:
    word, style = _SHOWN[finding.state]
    yield Text.assemble((f"{word:<5}", style), f"  {finding.subject:<9}  {finding.text}")
    if finding.advice:
        yield Text(f"{'':18}-> {finding.advice}")


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'s' * (number != 1)}"
