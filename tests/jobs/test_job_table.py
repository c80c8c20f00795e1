"""The job table: states, the ring of events, and what survives a killed process."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from scope_batch.errors import OutputError, TemporaryError
from scope_batch.jobs.job_table import JobTable
from scope_batch.jobs.listeners import Change
from scope_batch.jobs.records import ENDED, WORK, BusyError, EndState, JobRecord, JobSettings, Progress
from tests.jobs.waiting import next_events

SETTINGS = JobSettings(("out.npy",))


@pytest.fixture
def table(tmp_path: Path) -> Iterator[JobTable]:
    with JobTable(tmp_path / "state", max_events=5, clock=iter(range(1000, 100_000)).__next__) as opened:
        yield opened


def submit(table: JobTable, request: str = "{}") -> JobRecord:
    return table.submit(request, SETTINGS, most_active=100)


def numbers(table: JobTable, job: JobRecord, after: int = 0) -> list[int]:
    return [event.number for event in table.events(job.id, after)]


def test_a_submitted_job_is_read_back_whole(table: JobTable) -> None:
    settings = JobSettings(("out.npy", "out.mp4"), preview="now.png", checkpoint_every=3)
    job = table.submit('{"prompt": "ein Bär"}', settings, most_active=1, caller="batch")
    assert table.get(job.id) == job
    assert (job.state, job.settings, job.caller, job.progress) == ("queued", settings, "batch", Progress())
    assert table.folder(job.id).is_dir()


def test_of_50_submissions_at_once_as_many_pass_as_may(table: JobTable) -> None:
    start = threading.Barrier(50)

    def one(_: int) -> bool:
        start.wait()
        try:
            table.submit("{}", SETTINGS, most_active=1)
        except BusyError:
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(one, range(50))) == 1


def test_of_20_submissions_with_one_key_one_becomes_a_job(table: JobTable) -> None:
    start = threading.Barrier(20)

    def one(_: int) -> str:
        start.wait()
        return table.submit("{}", SETTINGS, most_active=1, key="k").id

    with ThreadPoolExecutor(20) as pool:
        ids = set(pool.map(one, range(20)))
    assert ids == {record.id for record in table.records()}
    assert len(ids) == 1


def test_a_job_that_ended_makes_room(table: JobTable) -> None:
    job = table.submit("{}", SETTINGS, most_active=1)
    with pytest.raises(BusyError, match="1 of at most 1 jobs"):
        table.submit("{}", SETTINGS, most_active=1)
    table.cancel(job.id)
    table.submit("{}", SETTINGS, most_active=1)


def test_two_threads_never_take_the_same_job(table: JobTable) -> None:
    for _ in range(20):
        submit(table)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: table.take_next(), range(24)))
    ids = [job.id for job in taken if job is not None]
    assert len(ids) == len(set(ids)) == 20


def test_the_oldest_waiting_job_is_taken_first(table: JobTable) -> None:
    first, second = submit(table), submit(table)
    assert table.jobs_ahead(second.id) == 1
    taken = table.take_next()
    assert taken is not None
    assert (taken.id, taken.state) == (first.id, "running")
    table.interrupt(first.id)
    assert table.take_next() == table.get(first.id)


def test_taking_waits_for_a_job_and_ends_when_none_is_wanted(table: JobTable) -> None:
    wanted = True
    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(table.take_next, lambda: wanted, wait=True)
        job = submit(table)
        taken = taking.result(30)
        assert taken is not None and taken.id == job.id
        taking = pool.submit(table.take_next, lambda: wanted, wait=True)
        wanted = False
        table.wake()
        assert taking.result(30) is None


def test_jobs_are_listed_newest_first_in_pages(table: JobTable) -> None:
    ids = [submit(table).id for _ in range(5)]
    page = table.records(2)
    assert [job.id for job in page] == [ids[4], ids[3]]
    assert [job.id for job in table.records(9, after=page[-1].id)] == [ids[2], ids[1], ids[0]]


def test_active_jobs_are_those_that_run_or_wait(table: JobTable) -> None:
    running, ended, waiting = submit(table), submit(table), submit(table)
    table.take_next()
    table.cancel(ended.id)
    assert [job.id for job in table.active()] == [running.id, waiting.id]


def test_the_ring_keeps_what_the_job_renders(table: JobTable) -> None:
    job = submit(table)
    for kind in ("loading", "started", *["chunk"] * 20):
        table.append_event(job.id, kind, {})
    assert numbers(table, job) == [2, *range(18, 23)]
    first = table.first_event(job.id, "started")
    assert first == table.events(job.id)[0]
    assert table.first_event(job.id, "loading") is None


def test_the_ring_keeps_the_last_events_under_ascending_numbers(table: JobTable) -> None:
    job = submit(table)
    for index in range(8):
        table.append_event(job.id, "chunk", {"chunk": index}, Progress(index + 1, 8))
    assert numbers(table, job) == [4, 5, 6, 7, 8]
    assert numbers(table, job, after=6) == [7, 8]
    assert table.events(job.id, 7)[0].data == '{"chunk": 7}'
    current = table.get(job.id)
    assert current is not None and current.progress == Progress(8, 8)


def test_a_waiting_reader_gets_the_next_event(table: JobTable) -> None:
    job = submit(table)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(next_events, table, job.id, 0)
        table.append_event(job.id, "warning", {})
        assert [event.kind for event in reading.result(30)] == ["warning"]


def test_state_and_events_are_of_one_moment(table: JobTable) -> None:
    """A reader that sees the end without the last event would leave its client waiting for it."""
    seen: list[tuple[bool, bool]] = []

    def read(job: str) -> None:
        while not seen or not seen[-1][0]:
            record, events = table.news(job)
            assert record is not None
            seen.append((record.has_ended, any(event.kind == "done" for event in events)))

    with ThreadPoolExecutor(1) as pool:
        for _ in range(50):
            job = submit(table)
            seen.clear()
            reading = pool.submit(read, job.id)
            table.end(job.id, "done")
            reading.result(30)
            assert all(has_ended == is_told for has_ended, is_told in seen)


def test_a_reader_does_not_wait_behind_the_last_event(table: JobTable) -> None:
    job = submit(table)
    table.end(job.id, "done")
    assert next_events(table, job.id, 1) == []


def test_closing_ends_every_wait(tmp_path: Path) -> None:
    table = JobTable(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(table.take_next, wait=True)
        table.close()
        assert waiting.result(30) is None


def test_a_listener_hears_of_every_change_until_it_leaves(table: JobTable) -> None:
    heard: list[Change] = []
    with table.listeners.listening(heard.append):
        job = submit(table)
        table.append_event(job.id, "warning", {})
    table.cancel(job.id)
    assert heard == [Change(job.id), Change(job.id, is_news=True)]


@pytest.mark.parametrize("first", ENDED)
@pytest.mark.parametrize("second", ENDED)
def test_a_job_ends_once(table: JobTable, first: str, second: str) -> None:
    job = submit(table)
    assert table.end(job.id, first, error="why", exit_code=65)  # type: ignore[arg-type]
    assert not table.end(job.id, second)  # type: ignore[arg-type]
    assert table.append_event(job.id, "warning", {}) is None
    assert [event.kind for event in table.events(job.id)] == [first]
    ended = table.get(job.id)
    assert ended is not None and (ended.state, ended.error, ended.exit_code) == (first, "why", 65)


def test_an_error_that_names_an_undecodable_file_is_kept(table: JobTable) -> None:
    job = submit(table)
    table.end(job.id, "failed", error="\udcff.png: no such file")
    ended = table.get(job.id)
    assert ended is not None and ended.error == "\\udcff.png: no such file"


def test_a_folder_that_cannot_be_made_is_one_line_and_leaves_no_job(table: JobTable, tmp_path: Path) -> None:
    (tmp_path / "state/jobs").rmdir()
    with pytest.raises(OutputError, match="the table of jobs cannot be written"):
        submit(table)
    assert table.records() == []


def test_the_file_itself_refuses_a_second_end(table: JobTable, tmp_path: Path) -> None:
    job = submit(table)
    table.end(job.id, "done")
    database = sqlite3.connect(tmp_path / "state/jobs.sqlite3")
    with pytest.raises(sqlite3.IntegrityError, match="the job has ended"):
        database.execute("INSERT INTO event VALUES (1, 2, 'failed', '{}')")
    with pytest.raises(sqlite3.IntegrityError, match="the job has ended"):
        database.execute("UPDATE job SET state = 'queued'")
    database.close()


def test_many_ends_at_once_leave_one(table: JobTable) -> None:
    job = submit(table)
    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(lambda index: table.end(job.id, ENDED[index % 3]), range(12))) == 1
    assert len(table.events(job.id)) == 1


def test_cancelling_in_each_state(table: JobTable) -> None:
    running, waiting, interrupted = submit(table), submit(table), submit(table)
    table.take_next()
    table.interrupt(interrupted.id)
    states = [
        (job.state, job.cancel_requested) for each in (running, waiting, interrupted) if (job := table.cancel(each.id))
    ]
    assert states == [("running", True), ("cancelled", False), ("cancelled", False)]
    table.end(running.id, "done")
    again = table.cancel(running.id)
    assert again is not None and again.state == "done"
    assert table.cancel("unknown") is None


@pytest.mark.parametrize("state", ENDED)
def test_stored_chunks_are_removed_when_a_job_ends(state: EndState, table: JobTable) -> None:
    jobs = [submit(table) for _ in range(2)]
    for job in jobs:
        (table.folder(job.id) / WORK).mkdir()
        table.interrupt(job.id)
    table.end(jobs[0].id, state)
    assert [(table.folder(job.id) / WORK).exists() for job in jobs] == [False, True]
    table.cancel(jobs[1].id)
    assert not (table.folder(jobs[1].id) / WORK).exists()


def test_stored_chunks_of_ended_jobs_are_removed_when_the_table_is_opened(tmp_path: Path) -> None:
    with JobTable(tmp_path) as table:
        waits, ended = submit(table), submit(table)
        table.end(ended.id, "failed")
        for job in (waits, ended):
            (table.folder(job.id) / WORK).mkdir()
    with JobTable(tmp_path) as table:
        assert [(table.folder(job.id) / WORK).exists() for job in (waits, ended)] == [True, False]


def test_only_an_ended_job_is_removed_with_its_folder(table: JobTable) -> None:
    job = submit(table)
    assert not table.remove(job.id)
    table.end(job.id, "done")
    assert table.remove(job.id)
    assert (table.get(job.id), table.events(job.id), table.folder(job.id).exists()) == (None, [], False)
    assert not table.remove(job.id)


def test_an_unwanted_job_is_removed_when_it_has_ended_after_a_restart_too(tmp_path: Path) -> None:
    with JobTable(tmp_path) as table:
        unwanted, other = submit(table), submit(table)
        table.discard(unwanted.id)
    with JobTable(tmp_path) as table:
        assert [job.unwanted for job in table.records(newest_first=False)] == [True, False]
        table.remove_unwanted()
        assert table.get(unwanted.id) is not None
        for job in (unwanted, other):
            table.end(job.id, "done")
        table.remove_unwanted()
        assert [job.id for job in table.records(newest_first=False)] == [other.id]


def test_ended_jobs_expire_and_others_stay(table: JobTable) -> None:
    """The clock of this table goes on by one second whenever it is read."""
    old, active = submit(table), submit(table)
    table.end(old.id, "failed")
    for _ in range(20):
        submit(table)
    new = submit(table)
    table.end(new.id, "done")
    assert table.expire(10) == [old.id]
    assert table.get(active.id) and table.get(new.id)


def test_two_servers_never_share_a_directory(table: JobTable, tmp_path: Path) -> None:
    with pytest.raises(TemporaryError, match="another server uses"):
        JobTable(tmp_path / "state")
    table.close()
    JobTable(tmp_path / "state").close()


def test_a_killed_process_leaves_interrupted_jobs_and_whole_events(tmp_path: Path) -> None:
    code = """if True:
        import os, signal, sys
        from pathlib import Path
        from scope_batch.jobs.records import JobSettings
        from scope_batch.jobs.job_table import JobTable
        table = JobTable(Path(sys.argv[1]))
        for _ in range(2):
            table.submit("{}", JobSettings(("out.npy",)), most_active=9)
        job = table.take_next()
        table.append_event(job.id, "chunk", {"chunk": 0})
        (Path(sys.argv[1]) / "jobs/stray").mkdir()
        table._db.execute("BEGIN IMMEDIATE")
        table._db.execute("DELETE FROM job")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    with JobTable(tmp_path) as table:
        waiting, interrupted = table.records()
        assert (waiting.state, interrupted.state) == ("queued", "interrupted")
        assert [event.kind for event in table.events(interrupted.id)] == ["chunk"]
        assert {folder.name for folder in (tmp_path / "jobs").iterdir()} == {waiting.id, interrupted.id}
        taken = table.take_next()
        assert taken is not None and taken.id == interrupted.id


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    JobTable(tmp_path).close()
    database = sqlite3.connect(tmp_path / "jobs.sqlite3")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(OutputError, match="another version"):
        JobTable(tmp_path)
    (tmp_path / "jobs.sqlite3").write_text("no database, but a text that is long enough to be read as one" * 20)
    with pytest.raises(OutputError, match="cannot be used"):
        JobTable(tmp_path)


def test_nobody_else_can_read_the_state_directory(tmp_path: Path) -> None:
    with closing(JobTable(tmp_path / "state")) as table:
        submit(table)
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").glob("jobs.sqlite3*")}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert {*modes.values()} == {0o600} and len(modes) >= 2
