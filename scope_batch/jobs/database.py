"""Opens the SQLite file of the job table and reads its rows."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from scope_batch.errors import OutputError
from scope_batch.jobs.records import JobRecord, JobSettings, Progress

SCHEMA_VERSION = 3
_SCHEMA = """
CREATE TABLE job (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled', 'interrupted')),
    request TEXT NOT NULL,
    settings TEXT NOT NULL,
    caller TEXT NOT NULL,
    key TEXT UNIQUE,
    submitted_s REAL NOT NULL,
    started_s REAL,
    finished_s REAL,
    progress TEXT NOT NULL DEFAULT '{}',
    outputs TEXT NOT NULL DEFAULT '[]',
    error TEXT NOT NULL DEFAULT '',
    exit_code INTEGER NOT NULL DEFAULT 0,
    lost_workers INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    unwanted INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX job_by_state ON job (state, number);
CREATE INDEX job_unwanted ON job (number) WHERE unwanted;
CREATE TABLE event (
    job INTEGER NOT NULL REFERENCES job (number) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TRIGGER nothing_after_the_end BEFORE INSERT ON event
WHEN EXISTS (SELECT 1 FROM event WHERE job = NEW.job AND kind IN ('done', 'failed', 'cancelled'))
BEGIN SELECT RAISE(ABORT, 'the job has ended'); END;
CREATE TRIGGER no_state_after_the_end BEFORE UPDATE OF state ON job
WHEN OLD.state IN ('done', 'failed', 'cancelled')
BEGIN SELECT RAISE(ABORT, 'the job has ended'); END;
"""


def open_database(file: Path) -> sqlite3.Connection:
    """Open the file, or create it with its tables. The connection commits every statement outside a transaction.

    Raises OutputError if the file cannot be used.
    """
    try:
        file.touch(mode=0o600)  # requests hold prompts; sqlite3 gives its other files the mode of this one
        database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise OutputError(f"{file}: cannot be opened: {error}") from error
    database.row_factory = sqlite3.Row
    try:
        # After a power failure the last transactions may be missing, but what is there is whole.
        database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            raise OutputError(f"{file}: written by another version of scope-batch; use another state directory")
    except sqlite3.Error as error:
        database.close()
        raise OutputError(f"{file}: cannot be used: {error}") from error
    except OutputError:
        database.close()
        raise
    return database


def record_of(row: sqlite3.Row) -> JobRecord:
    """Return a row of the table `job` as a value."""
    values = dict(row)
    del values["number"], values["key"]
    settings = json.loads(values["settings"])
    values["settings"] = JobSettings(**{**settings, "outputs": tuple(settings["outputs"])})
    values["progress"] = Progress(**json.loads(values["progress"]))
    values["outputs"] = tuple(json.loads(values["outputs"]))
    values["cancel_requested"] = bool(values["cancel_requested"])
    values["unwanted"] = bool(values["unwanted"])
    return JobRecord(**values)
