"""`farm`: shows what ran where, and writes jobs for queues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scope_batch.cli import arguments as o
from scope_batch.cli.documents import print_json, print_rich
from scope_batch.cli.farm_export import export
from scope_batch.cli.help import Program

if TYPE_CHECKING:
    from rich.table import Table

    from scope_batch.farm.ledger import JobHistory

app = Program(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})

LedgerFolder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder given to render --ledger.")]


@app.callback()
def farm() -> None:
    """Show what became of many jobs, and hand jobs to queues."""


app.command()(export)


@app.command()
def status(folder: LedgerFolder, as_json: o.AsJson = False) -> None:
    """Print the jobs in a ledger: how each ended, on which device, how long it took."""
    from rich.text import Text

    from scope_batch.farm.ledger import Ledger

    ledger = Ledger(folder)
    jobs, damaged = ledger.read()
    if as_json:
        print_json({"jobs": [{"attempts": list(map(asdict, job.attempts))} for job in jobs], "damaged_lines": damaged})
        return
    print_rich(_table(jobs), Text(_summary(jobs)))
    if damaged:
        print_rich(Text(f"{ledger.path}: {damaged} damaged line{'s' if damaged > 1 else ''} not counted", "yellow"))


def _table(jobs: Sequence[JobHistory]) -> Table:
    from rich.table import Table

    from scope_batch.progress import wording

    table = Table(box=None, pad_edge=False)
    for column in ("job", "made from", "state", "code", "device", "host", "time", "attempts", "resumed at", "outputs"):
        table.add_column(column, overflow="fold")
    for job in jobs:
        last = job.last
        table.add_row(
            last.job,
            last.fingerprint[:8],
            last.outcome,
            str(last.exit_code),
            last.device,
            last.host,
            wording.span(job.seconds),
            str(len(job.attempts)),
            "" if last.resumed_chunk is None else f"chunk {last.resumed_chunk}",
            "\n".join(last.outputs) or last.message,
        )
    return table


def _summary(jobs: Sequence[JobHistory]) -> str:
    counts = Counter(job.last.outcome for job in jobs)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
    return f"{len(jobs)} job{'' if len(jobs) == 1 else 's'}: {outcomes}" if jobs else "no jobs"
