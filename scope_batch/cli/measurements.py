"""Runs the measurements of `bench`, collects their figures, shows them and writes them to a file."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scope_batch.cli.documents import print_json, print_rich, write_text
from scope_batch.errors import EXIT_CHECK_FAILED, EXIT_OK, Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from scope_batch.bench.measure import Bench, Run
    from scope_batch.bench.processes import Command
    from scope_batch.cli.console import CommandConsole
    from scope_batch.job import Job
    from scope_batch.render.options import RenderOptions


class Measurements:
    """Runs the measurements; one that fails does not stop the others."""

    def __init__(self, measuring: Bench, console: CommandConsole, output: Path | None) -> None:
        self._measuring, self._console, self._output = measuring, console, output
        self._runs: list[Run] = []
        self._commands: list[Command] = []
        self.exit_code = 0

    def run(self, case: str, job: Job, kernels: str, number: int) -> None:
        with self._going_on(case, job):
            run = self._measuring.run(job, case, kernels, number)
            self._runs.append(run)
            self._console.remark(f"{' '.join(run.key)}: {run.fps:.1f} frames per second")
            self.write()

    def run_commands(self, case: str, job: Job, options: RenderOptions, start: bool, end_to_end: int | None) -> None:
        from scope_batch.bench.processes import command, first_frames

        with self._going_on(case, job):
            folder, output = self._measuring.folder, self._measuring.output
            if start:
                self._commands += first_frames(job, case, options, folder)
            if end_to_end is not None:
                self._commands.append(
                    command("end to end", job, case, options, folder, frames=end_to_end, output=output)
                )
            self.write()

    def compare(self, earlier: Mapping[tuple[str, ...], float], tolerance: float | None) -> int:
        """Print a line for each kind of run that is too slow. Returns the exit code."""
        from scope_batch.bench.comparison import slower

        lines = [] if tolerance is None else slower([(run.key, run.fps) for run in self._runs], earlier, tolerance)
        for line in lines:
            self._console.remark(line)
        return EXIT_CHECK_FAILED if lines else EXIT_OK

    @contextmanager
    def _going_on(self, case: str, job: Job) -> Iterator[None]:
        """Report an error of the with-body, and go on unless it asks for the end."""
        boundary = self._console.boundary(f"{job.pipeline_id} {case}")
        with boundary:
            yield
        if isinstance(boundary.error, KeyboardInterrupt | Interrupted):
            raise boundary.error
        self.exit_code = self.exit_code or boundary.exit_code

    def show(self, earlier: Mapping[tuple[str, ...], float], *, as_json: bool) -> None:
        from scope_batch.bench.table import commands_table, details, speed_table

        if as_json:
            print_json(self._document())
        elif self._runs:
            print_rich(speed_table(self._runs, earlier), *details(self._runs))
            if self._commands:
                print_rich(commands_table(self._commands))

    def _document(self) -> dict[str, Any]:
        from datetime import UTC, datetime

        from scope_batch.render.fingerprint import package_versions

        runs = [run.to_json() for run in self._runs]
        commands = [done.to_json() for done in self._commands]
        made = datetime.now(UTC).isoformat(timespec="seconds")
        return {"made": made, "versions": package_versions(), "runs": runs, "commands": commands}

    def write(self, *, overwrite: bool = True) -> None:
        """Write what is measured so far."""
        if self._output is not None:
            write_text(json.dumps(self._document(), indent=1) + "\n", self._output, overwrite=overwrite)
