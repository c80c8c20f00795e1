"""`submit`: renders a job on a server, and writes its outputs on this machine."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import ExitStack, chdir, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scope_batch.cli import arguments as o
from scope_batch.cli.console import CommandConsole, open_console
from scope_batch.cli.environment import prepare_libraries
from scope_batch.cli.job_argument import JobText, read_job_text, stem_of
from scope_batch.cli.output_patterns import STDOUT, check_pattern, fill
from scope_batch.cli.signals import Signals
from scope_batch.cli.values import chosen_style, refuse_both
from scope_batch.errors import Interrupted, ScopeBatchError, UnavailableError, UsageError

if TYPE_CHECKING:
    from scope_batch.progress import Reporter
    from scope_batch.render.options import RenderOptions
    from scope_batch.submit.connection import Server as Connection
    from scope_batch.submit.submitted import SubmittedJob

_SERVER = "Server"

Job = Annotated[
    str | None,
    typer.Argument(
        metavar="JOB",
        help="Job file, - for standard input, or a rendered file that carries its job. --attach does not need it on "
        "the machine that submitted the job.",
        show_default=False,
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="SCOPE_BATCH_SERVER",
        help="The server, such as http://gpu:8000.",
        rich_help_panel=_SERVER,
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN",
        envvar="SCOPE_BATCH_TOKEN",
        help="The token that the server was started with.",
        rich_help_panel=_SERVER,
    ),
]
Attach = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Follow a job that was submitted before, and fetch it.", rich_help_panel=_SERVER),
]
Detach = Annotated[
    bool,
    typer.Option(
        "--detach",
        help="Return as soon as the server has the job; its id goes to standard output.",
        rich_help_panel=_SERVER,
    ),
]


def submit(
    context: typer.Context,
    job: Job = None,
    server: Server = None,
    token: Token = None,
    attach: Attach = None,
    detach: Detach = False,
    output: o.Outputs = None,
    format: o.FormatOption = None,  # noqa: A002  (the option is called --format)
    overwrite: o.Overwrite = False,
    skip_existing: o.SkipExisting = False,
    no_metadata: o.NoMetadata = False,
    force: o.Force = False,
    overrides: o.Overrides = None,
    progress: o.ProgressOption = o.Progress.auto,
    progress_file: o.ProgressFile = None,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> int:
    """Render a job on a server (`serve`), and write its outputs here. Ctrl-C cancels the job."""
    refuse_both("-y", overwrite, "-n", skip_existing)
    style = chosen_style(progress, quiet=quiet, verbose=verbose)
    refuse_both("--attach", attach is not None, "--detach", detach)
    context.obj.verbose = verbose
    prepare_libraries(verbose=verbose, deterministic=False)
    with open_console(style, progress_file, verbose=verbose) as console:
        from scope_batch.render.options import RenderOptions

        settings = RenderOptions(
            outputs=tuple(output or ()),
            output_format=format and format.value,
            overwrite=overwrite,
            skip_existing=skip_existing,
            metadata=not no_metadata,
            force=force,
        )
        return _submit(
            job, overrides or (), settings, console, server=server, token=token, attach=attach, detach=detach
        )


def _submit(
    argument: str | None,
    overrides: Sequence[str],
    options: RenderOptions,
    console: CommandConsole,
    *,
    server: str | None,
    token: str | None,
    attach: str | None,
    detach: bool,
) -> int:
    """Submit a job or attach to one. Returns the exit code. Raises UnavailableError without the extra `submit`."""
    try:
        from scope_batch.submit.connection import Server as Connection
    except ModuleNotFoundError as error:
        if error.name != "httpx":
            raise
        raise UnavailableError(f"submit needs {error.name}: pip install 'scope-batch[submit]'") from error
    earlier = None if attach is None else _earlier(attach, argument, overrides)
    if argument is None and earlier is None:
        raise UsageError("submit needs a JOB, or --attach ID")
    url = server or (earlier.server if earlier else None)
    if url is None:
        raise UsageError("submit needs --server URL (or $SCOPE_BATCH_SERVER)")
    for pattern in options.outputs:
        check_pattern("-o", pattern, 1)
    name = argument if argument is not None else earlier.name if earlier else ""
    boundary = console.boundary(name)
    with ExitStack() as stack:
        stack.enter_context(boundary)
        connection = stack.enter_context(closing(Connection(url, token)))
        if earlier is not None:
            overrides, options = earlier.overrides, _recalled(earlier, options)
            if Path(earlier.directory).is_dir():
                stack.enter_context(chdir(earlier.directory))
        text = read_job_text(name) if earlier is None else _text_of(earlier)
        with console.reporter(name) as report:
            connection.on_trouble = report.note
            _Submission(connection, report, text, stem_of(name), tuple(overrides), options, attach).run(detach=detach)
    return boundary.exit_code


class _Submission:
    """One job from its text to its outputs."""

    def __init__(
        self,
        server: Connection,
        report: Reporter,
        text: JobText,
        stem: str,
        overrides: tuple[str, ...],
        options: RenderOptions,
        attached: str | None,
    ) -> None:
        self._server, self._report = server, report
        self._text, self._stem, self._overrides, self._options = text, stem, overrides, options
        self._id = attached
        self._end: str | None = None
        """The end of the job on the server, as far as it is known here."""

    def run(self, *, detach: bool) -> None:
        from scope_batch.events import Finished
        from scope_batch.submit.run import fetch, prepare_remote_job, send

        job = self._text.job(self._overrides)
        outputs = tuple(fill(output, job, self._stem) for output in self._options.outputs)
        options = replace(self._options, outputs=outputs)
        with Signals(busy=lambda: False):
            try:
                remote = prepare_remote_job(job, self._stem, options, self._report)
                if isinstance(remote, Finished):
                    return
                self._greet()
                if self._id is None:
                    self._id = send(remote, self._server, self._report)
                    self._remember()
                if detach:
                    self._report.note(f"scope-batch submit --attach {self._id} fetches it")
                    typer.echo(self._id)
                    return
                fetch(remote, self._server, self._id, self._report, self._note_end)
            except Interrupted as error:
                self._leave(error)
                raise
            except ScopeBatchError as error:
                if error.exit_code in _MAY_GO_ON:
                    self._tell_how_to_attach(error)
                raise

    def _note_end(self, end: str) -> None:
        self._end = end

    def _greet(self) -> None:
        """Reach the server before anything is sent, and tell if it is of another version."""
        from scope_batch import __version__

        if (version := self._server.version()) != __version__:
            self._report.note(f"note: the server is scope-batch {version}, this is {__version__}")

    def _remember(self) -> None:
        from scope_batch.submit.submitted import SubmittedJob, remember_job

        assert self._id is not None
        submitted = SubmittedJob(
            server=self._server.url,
            text=self._text.text,
            name=self._text.name,
            folder=str(self._text.folder),
            stem=self._text.stem,
            overrides=self._overrides,
            directory=str(Path.cwd()),
            outputs=self._options.outputs,
            output_format=self._options.output_format,
            metadata=self._options.metadata,
        )
        remember_job(self._id, submitted)

    def _leave(self, error: Interrupted) -> None:
        """Cancel the job after Ctrl-C; after another signal, such as of a closing terminal, it goes on."""
        from scope_batch.submit.following import CancelledJob

        if self._id is None or isinstance(error, CancelledJob):
            return
        if error.signum != signal.SIGINT or self._end is not None:
            self._tell_how_to_attach(error)
            return
        try:
            self._server.call("POST", f"/api/v1/jobs/{self._id}/cancel")
            self._report.note("the job is cancelled")
        except ScopeBatchError as failure:
            error.add_note(f"the job could not be cancelled: {failure}")
            self._tell_how_to_attach(error)

    def _tell_how_to_attach(self, error: BaseException) -> None:
        """Add a note to an error, unless there is no job, or it has ended without a video."""
        if self._id is not None and self._end in (None, "done"):
            what = "the job goes on" if self._end is None else "the video is on the server"
            error.add_note(f"{what}: scope-batch submit --attach {self._id}")


_MAY_GO_ON = (73, 74, 75)
"""Exit codes of failures here that leave the job on the server as it is."""


def _earlier(attach: str, argument: str | None, overrides: Sequence[str]) -> SubmittedJob | None:
    """Return what this machine remembers of a job; None if the command line names its job file."""
    from scope_batch.submit.submitted import is_job_id, recall_job

    if not is_job_id(attach):
        raise UsageError(f"--attach {attach}: is not the id of a job: 32 hexadecimal digits")
    if argument is not None:
        return None
    if overrides:
        raise UsageError("--set needs the JOB beside --attach")
    if (earlier := recall_job(attach)) is None:
        raise UsageError(f"--attach {attach}: was not submitted from this machine: name the JOB and --server, too")
    return earlier


def _recalled(earlier: SubmittedJob, options: RenderOptions) -> RenderOptions:
    metadata = options.metadata and earlier.metadata
    if options.outputs:
        outputs = tuple(output if output == STDOUT else str(Path(output).absolute()) for output in options.outputs)
        return replace(options, outputs=outputs, metadata=metadata)
    return replace(
        options,
        outputs=earlier.outputs,
        output_format=options.output_format or earlier.output_format,
        metadata=metadata,
    )


def _text_of(earlier: SubmittedJob) -> JobText:
    return JobText(earlier.text, earlier.name, Path(earlier.folder), earlier.stem)
