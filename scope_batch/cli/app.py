"""Defines the verbs. Each imports its modules only when it runs, so that `--help` stays fast."""

from __future__ import annotations

import typer

from scope_batch import __version__
from scope_batch.cli import arguments as o
from scope_batch.cli import device_options as d
from scope_batch.cli import farm, golden, models
from scope_batch.cli.bench import bench
from scope_batch.cli.compare import compare
from scope_batch.cli.console import open_console
from scope_batch.cli.demo import demo
from scope_batch.cli.documents import print_info, print_schema, write_template
from scope_batch.cli.environment import prepare_libraries
from scope_batch.cli.guide import help_
from scope_batch.cli.help import Program
from scope_batch.cli.importer import import_file
from scope_batch.cli.output_patterns import refuse_tiny
from scope_batch.cli.report import report
from scope_batch.cli.serve import serve
from scope_batch.cli.sheet import sheet
from scope_batch.cli.submit import submit
from scope_batch.cli.values import check_device, chosen_style, refuse_both
from scope_batch.errors import EXIT_USAGE, UsageError
from scope_batch.farm.devices import parse_devices

app = Program(
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(models.app, name="models")
app.add_typer(golden.app, name="golden")
app.add_typer(farm.app, name="farm")
app.command()(bench)
app.command()(compare)
app.command()(sheet)
app.command()(report)
app.command("help")(help_)
app.command()(demo)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"scope-batch {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def scope_batch(
    context: typer.Context,
    _version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Show the version."),
) -> None:
    """Render long AI video from one YAML job file."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(EXIT_USAGE)


@app.command()
def render(
    context: typer.Context,
    jobs: o.JobArguments,
    output: o.Outputs = None,
    format: o.FormatOption = None,  # noqa: A002  (the option is called --format)
    overwrite: o.Overwrite = False,
    skip_existing: o.SkipExisting = False,
    depfile: o.Depfile = None,
    latents: o.Latents = None,
    preview: o.Preview = None,
    sheet: o.Sheet = None,
    no_metadata: o.NoMetadata = False,
    force: o.Force = False,
    resume: o.ResumeOption = None,
    checkpoint_every: o.CheckpointEvery = None,
    work_dir: o.WorkDir = None,
    reuse: o.Reuse = None,
    keep_work: o.KeepWork = False,
    overrides: o.Overrides = None,
    sweep: o.Sweeps = None,
    dry_run: o.DryRun = False,
    models: d.Models = None,
    device: d.RenderDevices = "auto",
    ray: d.Ray = None,
    ray_workers: d.RayWorkers = None,
    dtype: d.DtypeOption = d.Dtype.auto,
    low_vram: d.LowVramOption = d.LowVram.auto,
    kernels: d.KernelsOption = d.Kernels.auto,
    deterministic: d.Deterministic = False,
    timeout: o.Timeout = None,
    fail_fast: o.FailFast = False,
    ledger: o.Ledger = None,
    progress: o.ProgressOption = o.Progress.auto,
    progress_file: o.ProgressFile = None,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> int:
    """Render jobs to video files, arrays or standard output."""
    style = chosen_style(progress, quiet=quiet, verbose=verbose)
    refuse_both("--no-resume", resume is False, "--reuse", reuse is not None)
    for option, is_set in (
        ("--resume", resume is True),
        ("--work-dir", work_dir is not None),
        ("--keep-work", keep_work),
        ("--reuse", reuse is not None),
    ):
        refuse_both("--checkpoint-every 0", checkpoint_every == 0, option, is_set)
    if ray is not None:
        from scope_batch.farm.ray_cluster import RayOptions

        cluster = RayOptions(ray, device, ray_workers)
    elif ray_workers is not None:
        raise UsageError("--ray-workers counts the workers of --ray, which is not given")
    else:
        cluster = None
    devices = parse_devices(device)
    context.obj.verbose = verbose
    prepare_libraries(verbose=verbose, deterministic=deterministic)
    with open_console(style, progress_file, verbose=verbose) as console:
        # Imported here because `--help` needs neither pydantic nor numpy.
        from scope_batch.render.options import RenderOptions

        settings = RenderOptions(
            outputs=tuple(output or ()),
            output_format=format and format.value,
            overwrite=overwrite,
            skip_existing=skip_existing,
            models=models,
            device=devices[0].option,
            dtype=dtype.value,
            low_vram=low_vram.value,
            latents=latents,
            preview=preview,
            metadata=not no_metadata,
            force=force,
            kernels=kernels.value,
            deterministic=deterministic,
            resume=resume,
            checkpoint_every=checkpoint_every,
            work_dir=work_dir,
            reuse=reuse,
            keep_work=keep_work,
        )
        if dry_run:
            from scope_batch.cli.plan import print_plans

            return print_plans(jobs, overrides or (), settings, console, sweeps=sweep or ())
        from scope_batch.cli.render import render_jobs

        return render_jobs(
            jobs,
            overrides or (),
            settings,
            console,
            sweeps=sweep or (),
            timeout_s=timeout,
            fail_fast=fail_fast,
            depfile=depfile,
            ledger=ledger,
            sheet=sheet,
            devices=devices,
            ray=cluster,
        )


@app.command()
def plan(
    jobs: o.JobArguments,
    output: o.Outputs = None,
    format: o.FormatOption = None,  # noqa: A002  (the option is called --format)
    latents: o.Latents = None,
    preview: o.Preview = None,
    overrides: o.Overrides = None,
    sweep: o.Sweeps = None,
    models: d.Models = None,
    device: d.Device = "auto",
    dtype: d.DtypeOption = d.Dtype.auto,
    low_vram: d.LowVramOption = d.LowVram.auto,
    kernels: d.KernelsOption = d.Kernels.auto,
    fetch: o.Fetch = False,
    as_json: o.AsJson = False,
    strict: o.Strict = False,
) -> int:
    """Print what jobs do, chunk by chunk, without loading anything."""
    check_device(device)
    from scope_batch.cli.plan import print_plans
    from scope_batch.render.options import RenderOptions

    settings = RenderOptions(
        outputs=tuple(output or ()),
        output_format=format and format.value,
        models=models,
        device=device,
        dtype=dtype.value,
        low_vram=low_vram.value,
        kernels=kernels.value,
        latents=latents,
        preview=preview,
    )
    with open_console("none", None, verbose=False) as console:
        return print_plans(
            jobs, overrides or (), settings, console, sweeps=sweep or (), as_json=as_json, strict=strict, fetch=fetch
        )


@app.command()
def branch(
    context: typer.Context,
    job: o.JobArgument,
    at: o.BranchAt,
    endings: o.Endings,
    output: o.EndingOutputs = None,
    overwrite: o.Overwrite = False,
    keep_work: o.KeepWork = False,
    models: d.Models = None,
    device: d.Device = "auto",
    dtype: d.DtypeOption = d.Dtype.auto,
    low_vram: d.LowVramOption = d.LowVram.auto,
    kernels: d.KernelsOption = d.Kernels.auto,
    deterministic: d.Deterministic = False,
    progress: o.ProgressOption = o.Progress.auto,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> int:
    """Render several endings of a job, and what they begin with once."""
    style = chosen_style(progress, quiet=quiet, verbose=verbose)
    check_device(device)
    context.obj.verbose = verbose
    prepare_libraries(verbose=verbose, deterministic=deterministic)
    with open_console(style, None, verbose=verbose) as console:
        from scope_batch.cli.branch import render_branches
        from scope_batch.render.options import RenderOptions

        settings = RenderOptions(
            outputs=tuple(output or ()),
            overwrite=overwrite,
            models=models,
            device=device,
            dtype=dtype.value,
            low_vram=low_vram.value,
            kernels=kernels.value,
            deterministic=deterministic,
            keep_work=keep_work,
        )
        return render_branches(job, at, endings, settings, console)


@app.command()
def init(clip: o.ClipArgument = None, output: o.TemplateOutput = None, overwrite: o.ReplaceTemplate = False) -> None:
    """Write a commented job to start from."""
    write_template(clip, output, overwrite=overwrite)


@app.command("import")
def import_(
    file: o.ExportArgument,
    fps: o.ExportRate = "16",
    output: o.TemplateOutput = None,
    overwrite: o.ReplaceTemplate = False,
) -> None:
    """Turn a timeline or workflow exported from Scope into a job."""
    import_file(file, output, fps=fps, overwrite=overwrite)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the job file, for editors."""
    print_schema()


@app.command()
def info(file: o.RenderedFile, as_json: o.AsJson = False, full: o.FullInfo = False) -> None:
    """Print the job that a rendered file was made from, its defaults, and what else made the file."""
    print_info(file, as_json=as_json, full=full)


@app.command()
def doctor(models: o.ModelsFolderOption = None, render: o.TryRender = False, as_json: o.AsJson = False) -> int:
    """Check that this machine can render: versions, devices, ffmpeg, model files, disks. Exit code 1 on a fault."""
    prepare_libraries(verbose=False, deterministic=False)
    from scope_batch.cli.doctor import print_findings

    return print_findings(refuse_tiny(models), render=render, as_json=as_json)


app.command()(serve)
app.command()(submit)
