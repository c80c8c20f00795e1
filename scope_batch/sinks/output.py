"""Resolves the outputs of a render: paths, formats and encoder settings, with every default."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scope_batch.core.output_formats import FILE_SUFFIXES, OUTPUT_FORMATS, STDOUT_FORMATS
from scope_batch.errors import JobError, OutputError, OutputExistsError, UsageError
from scope_batch.files.urls import checked_url, is_url, making_path
from scope_batch.sinks.encoders import DEFAULT_CODEC, OPTION_NAMES, VideoOptions, resolve_options

STDOUT = "-"
_ALLOWED = f"{FILE_SUFFIXES}, frames/%05d.png, or - for standard output"
_NUMBER = re.compile(r"%(0\d+)?d")


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a render. `path` is None for standard output; `options` is None for formats without encoder.

    A PNG sequence's path keeps its number pattern: `frames/%05d.png`.
    url   where the files are uploaded to when they are finished; None: they stay.
    """

    path: Path | None
    format: str
    options: VideoOptions | None = None
    url: str | None = None

    @property
    def name(self) -> str:
        """The URL or path, or `-`, for messages."""
        return self.url or (STDOUT if self.path is None else str(self.path))

    def made_in(self, folder: Path | None) -> Output:
        """Return the output, if it has a URL, with a local path below `folder`; None: in the cache folder."""
        return self if self.url is None else replace(self, path=making_path(self.url, folder))


def parse_outputs(
    job_output: object,
    cli_outputs: Sequence[str],
    fmt: str | None,
    job_stem: str,
    video: Mapping[str, Any] | None = None,
) -> tuple[Output, ...]:
    """Return the outputs of a render: those of `-o`, else the job's, else `./<job stem>.mp4`.

    job_output  the job's `output`: a path, a map {path, codec, crf, preset, pix_fmt}, or a list of these; None = none.
    fmt         `-f`: the format of `-`.
    video       the job's `video`: encoder settings, for video outputs that do not set their own.
    Raises JobError (unknown extension or encoder option, a path twice) or UsageError (`-` twice, `-f` without `-`).
    """
    entries = list(cli_outputs) or _as_list(job_output) or [f"{job_stem}.mp4"]
    outputs = tuple(_parse(entry, fmt, dict(video or {})) for entry in entries)
    on_stdout = sum(output.path is None for output in outputs)
    if on_stdout > 1:
        raise UsageError("output: - (standard output) can be written only once")
    if fmt is not None and not on_stdout:
        raise UsageError("-f names the format of standard output: it needs -o -")
    refuse_same_path([output.path for output in outputs if output.path is not None])
    return outputs


def refuse_same_path(paths: Sequence[Path]) -> None:
    """Raises JobError if two of the paths are one file."""
    seen: set[str] = set()
    for path in paths:
        real = os.path.realpath(path)
        if real in seen:
            raise JobError(f"output: {path} is named twice")
        seen.add(real)


def numbered(path: Path, index: int) -> Path:
    """Return the file of frame `index` (from 0) of a PNG sequence."""
    return path.with_name(_NUMBER.sub(lambda number: number[0] % index, path.name))


def is_sequence(path: Path) -> bool:
    """Return whether the path of an output is the pattern of a PNG sequence."""
    return path.suffix.lower() == ".png"


def files_of(path: Path) -> list[Path]:
    """Return the existing files of an output: one, or the unsorted pictures of a PNG sequence."""
    if is_sequence(path):
        return list(picture_numbers(path))
    return [path] if path.exists() else []


def picture_names(path: Path) -> dict[str, int]:
    """Return {name of an existing file: frame number} of a PNG sequence. `7.png` does not match `%05d.png`."""
    number_format = _NUMBER.search(path.name)
    if number_format is None:
        return {}
    head, tail = path.name[: number_format.start()], path.name[number_format.end() :]
    name = re.compile(re.escape(head) + r"(\d+)" + re.escape(tail))
    try:
        listed = os.listdir(path.parent)  # noqa: PTH208  ten thousand paths take long
        numbers = {file: int(match[1]) for file in listed if (match := name.fullmatch(file))}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {file: number for file, number in numbers.items() if file == f"{head}{number_format[0] % number}{tail}"}


def picture_numbers(path: Path) -> dict[Path, int]:
    """Return {existing file: frame number} of a PNG sequence, see `picture_names`."""
    return {path.with_name(name): number for name, number in picture_names(path).items()}


def has_files(path: Path) -> bool:
    """Return whether a file of an output exists. False for a path that cannot be looked up, such as a name too long."""
    try:
        return bool(picture_names(path)) if is_sequence(path) else path.exists()
    except OSError:
        return False


def _as_list(job_output: object) -> list[object]:
    if job_output is None:
        return []
    return list(job_output) if isinstance(job_output, Sequence) and not isinstance(job_output, str) else [job_output]


def _parse(entry: object, fmt: str | None, video: dict[str, Any]) -> Output:
    own: Mapping[str, Any] = {}
    if isinstance(entry, Mapping):
        own = {key: value for key, value in entry.items() if key != "path"}
        entry = entry.get("path")
    if not isinstance(entry, str | Path) or not str(entry):
        raise JobError(f"output: {entry!r} is not a path; allowed: {_ALLOWED}")
    unknown = [key for key in own if key not in OPTION_NAMES]
    if unknown:
        raise JobError(f"output {entry}: unknown key {unknown[0]!r}; allowed: path, {', '.join(OPTION_NAMES)}")
    name = str(entry)
    url = _url(name) if is_url(name) else None
    path = None if name == STDOUT else making_path(url) if url else Path(entry)
    form = _stdout_format(fmt) if path is None else _format_of(path, name)
    return Output(path, form, _options(name, form, own, video), url)


def _url(text: str) -> str:
    try:
        return checked_url(text)
    except ValueError as error:
        raise JobError(f"output: {error}") from None


def _options(where: str, form: str, own: Mapping[str, Any], video: dict[str, Any]) -> VideoOptions | None:
    where = f"output {where}"
    if form not in DEFAULT_CODEC:
        if own:
            raise JobError(f"{where}: {form} has no encoder settings; remove {', '.join(own)}")
        return None
    # Raw video has no settings; the job's `video` applies to compressed outputs only.
    return resolve_options(form, own if form == "nut" else video | dict(own), where)


def _stdout_format(fmt: str | None) -> str:
    if fmt is not None and fmt not in STDOUT_FORMATS:
        raise UsageError(f"-f {fmt}: not known for standard output; allowed: {', '.join(STDOUT_FORMATS)}")
    return fmt or STDOUT_FORMATS[0]


def _format_of(path: Path, name: str) -> str:
    form = path.suffix[1:].lower()
    if form not in OUTPUT_FORMATS:
        raise JobError(f"output {name}: unknown extension {path.suffix!r}; allowed: {_ALLOWED}")
    numbers = len(_NUMBER.findall(path.name))
    if form == "png" and (numbers != 1 or path.name.count("%") != 1):
        raise JobError(f"output {name}: a PNG sequence needs one number in its file name, as in frames/%05d.png")
    return form


SIDECAR_FORMATS = frozenset(name for name, form in OUTPUT_FORMATS.items() if form.sidecar)
"""Formats that hold no text, or (NUT) no long one; the job is written beside them, to NAME.EXT.json."""


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn an OSError in the with-body into an OutputError that names `path`."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}") from error


def partial_path(path: Path) -> Path:
    """Return the name of a valid file with fewer frames: out.mp4 -> out.partial.mp4, %d.png -> %d.partial.png."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


def sidecar_path(path: Path) -> Path:
    """Return the path of the JSON file that stores the job beside an array or raw video."""
    return path.with_name(f"{path.name}.json")


def has_sidecar(path: Path) -> bool:
    return path.suffix[1:].lower() in SIDECAR_FORMATS


def work_path(path: Path) -> Path:
    """Return the folder in which an output is written before it is published: out.mp4 -> .out.mp4.work."""
    return path.with_name(f".{path.name}.work")


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raises OutputExistsError if `path` exists and may not be replaced, JobError if it is no plain file."""
    with output_errors(path):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return
    if not stat.S_ISREG(mode):
        raise JobError(f"{path}: exists and is not a plain file, so it is not replaced")
    if not overwrite:
        raise OutputExistsError(f"{path}: exists; replace it with --overwrite")


def refuse_folder(path: Path) -> None:
    """Raises OutputError if no file can be created at `path`; its folders need not exist yet."""
    folder = _existing_folder(path)
    if not folder.is_dir():
        raise OutputError(f"{path}: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: the folder {folder} cannot be written")


def refuse_long_names(path: Path, last_name: str) -> None:
    """Raises OutputError if the names of files written beside `path` are too long for the file system.

    last_name   the longest file name of the output itself; for a sequence, that of its last picture.
    """
    names = [partial_path(path.with_name(last_name)), work_path(path)]
    if has_sidecar(path):
        names.append(sidecar_path(partial_path(path)))
    longest = max((name.name for name in names), key=lambda name: len(os.fsencode(name)))
    folder = _existing_folder(path)
    with output_errors(path):
        most_in_name, most_in_path = os.pathconf(folder, "PC_NAME_MAX"), os.pathconf(folder, "PC_PATH_MAX")
    excess = len(os.fsencode(longest)) - most_in_name
    if excess > 0:
        raise OutputError(f"{path}: the name is {excess} bytes too long here: {longest} must fit {most_in_name} bytes")
    deepest = len(os.fsencode(work_path(path.absolute()) / last_name))
    if deepest >= most_in_path:
        raise OutputError(f"{path}: the path is too long: with its work folder {deepest} of {most_in_path - 1} bytes")


def _existing_folder(path: Path) -> Path:
    return next(parent for parent in path.absolute().parents if parent.exists())
