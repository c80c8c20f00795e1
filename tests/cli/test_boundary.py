from __future__ import annotations

import errno
import weakref
from pathlib import Path

import pytest

from scope_batch.cli.error_boundary import Boundary, ErrorReport, report_on
from scope_batch.errors import Interrupted, OutputError

OUT_OF_MEMORY = "out of memory or processes: ulimit -v and -u show the limits"


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (Interrupted(15), 143, ("stopped by SIGTERM",)),
        (KeyboardInterrupt(), 130, ("stopped by SIGINT",)),
        (BrokenPipeError(), 141, ()),
        (OSError(errno.EIO, "Input/output error"), 74, ("Input/output error",)),
        (PermissionError(errno.EACCES, "Permission denied", "a.mp4"), 74, ("a.mp4: Permission denied",)),
        (MemoryError(), 75, ("out of memory",)),
        (OSError(errno.EMFILE, "Too many open files"), 75, ("Too many open files",)),
        (RuntimeError("can't start new thread"), 75, (OUT_OF_MEMORY,)),
        (ImportError("libx.so: failed to map segment from shared object"), 75, (OUT_OF_MEMORY,)),
    ],
)
def test_an_error_of_the_user_or_machine_has_its_code_and_line(
    error: BaseException, code: int, lines: tuple[str, ...]
) -> None:
    assert report_on(error) == ErrorReport(code, lines)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        RuntimeError("x"),
        ImportError("x"),
        FileNotFoundError(errno.ENOENT, "gone", "x"),
        AssertionError(),
    ],
)
def test_another_exception_is_a_bug(error: BaseException) -> None:
    assert report_on(error) is None


def test_notes_of_an_error_are_reported_too() -> None:
    error = OutputError("disk full")
    error.add_note("standard output was not ended properly")
    report = report_on(error)
    assert report and report.lines == ("disk full", "standard output was not ended properly")


def test_a_failure_is_caught_and_its_code_kept() -> None:
    reports: list[ErrorReport] = []
    with Boundary(reports.append) as boundary:
        raise OutputError("disk full")
    assert (boundary.exit_code, reports) == (74, [ErrorReport(74, ("disk full",))])
    assert isinstance(boundary.error, OutputError)


def test_a_bug_is_reported_even_if_its_traceback_cannot_be_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPE_BATCH_CACHE", "/dev/null")
    reports: list[ErrorReport] = []
    with Boundary(reports.append, verbose=True) as boundary:
        raise ValueError("x")
    assert boundary.exit_code == 70 and "ValueError: x" in reports[0].lines[0] and len(reports[0].lines) > 2


def test_leaving_the_interpreter_is_no_failure() -> None:
    with pytest.raises(SystemExit), Boundary(lambda _: None):
        raise SystemExit(3)


def test_a_bug_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPE_BATCH_CACHE", str(tmp_path))
    reports: list[ErrorReport] = []
    with Boundary(reports.append):
        raise ValueError("x")
    assert str(next(tmp_path.rglob("*.txt"))) in reports[0].lines[0]


def test_a_signal_that_a_library_turned_into_its_own_error_stays_a_signal() -> None:
    reports: list[ErrorReport] = []
    boundary = Boundary(reports.append)
    with boundary:
        try:
            raise Interrupted(2, now=True)
        except Interrupted as error:
            raise RuntimeError("failed to import a module") from error
    assert reports == [ErrorReport(130, ("stopped by SIGINT",))] and isinstance(boundary.error, Interrupted)


def test_the_frames_of_a_failure_are_released() -> None:
    class Cache:
        pass

    held: list[weakref.ref[Cache]] = []

    def fail() -> None:
        cache = Cache()
        held.append(weakref.ref(cache))
        raise OutputError("disk full")

    boundary = Boundary(lambda _: None)
    with boundary:
        fail()
    assert boundary.error is not None and held[0]() is None


@pytest.mark.parametrize("number", [errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP])
def test_an_impossible_path_is_the_users_fault(number: int) -> None:
    assert report_on(OSError(number, "no", "a.mp4")) == ErrorReport(66, ("a.mp4: no",))
    assert report_on(OSError(number, "no")) is None


def test_lines_are_shortened_and_hold_no_control_characters() -> None:
    reports: list[ErrorReport] = []
    with Boundary(reports.append):
        raise OutputError(f"\x1b[31m\udcff {'n' * 5000}: Größe\u202f2 is wrong")
    assert reports[0].lines == (f"\\x1b[31m\\udcff {'n' * 120}...{'n' * 119}: Größe\u202f2 is wrong",)
