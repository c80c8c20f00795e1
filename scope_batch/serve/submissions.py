"""Translates a submitted job file, whose inputs are uploads, into a job whose paths are files of this machine."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints

from scope_batch.errors import JobError, MissingInputError, ProblemsError
from scope_batch.files.image_series import is_pattern
from scope_batch.job import Job
from scope_batch.job.faults import shown
from scope_batch.job.load import parse_job
from scope_batch.job.positions import Source
from scope_batch.models.folder import TINY
from scope_batch.render.fingerprint import sha256_of
from scope_batch.serve.job_text import check_server_limits
from scope_batch.serve.requests import NOT_SERVED, Files, Translation, in_client_words, resolve

_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class Submission(BaseModel):
    """A job as `scope-batch submit` sends it.

    job         the fields of a job file, with all that a job file means: nothing unknown, no defaults of the protocol.
                Its paths are names of `files`, or names under the server's roots.
    files       name -> handle of an upload. A name such as "1/frames/0001.png" lies in the folder "1/frames".
    loras       name in `lora_scales` -> sha256 of the client's file; the server's must be equal.
    job_sha256  identifies the job for whoever attaches to it later.
    key         random; a second request with the same key gives the same job again.
    """

    model_config = ConfigDict(extra="forbid")

    job: dict[str, Any]
    files: dict[str, str] = {}
    loras: dict[str, _Digest] = {}
    job_sha256: _Digest | None = None
    key: _Key | None = None


def translate_submission(submission: Submission, models: str | None, files: Files) -> tuple[Job, Translation, Path]:
    """Return the job, its translation and the folder of its files, which the caller removes if there is no job.

    models  what the server was started with. Raises JobError or MissingInputError, in the client's words.
    """
    _refuse_own_fields(submission.job)
    uploads = {name: files.uploads.path_of(handle, "file") for name, handle in submission.files.items()}
    place = files.uploads.sets.create(uploads)
    try:
        result = Translation({name: value for name, value in submission.job.items() if value is not None})
        named = _SubmittedFiles(files, place, submission)
        resolve(result.fields, named, result)
        if models is not None:
            result.fields.setdefault("models", models)
        return *_checked(result, models), place
    except BaseException:
        files.uploads.sets.remove(place)
        raise


def _checked(result: Translation, models: str | None) -> tuple[Job, Translation]:
    try:
        job = parse_job(result.fields, Source(name="job"))
        check_server_limits(job, TINY if job.models == TINY else models)
    except ProblemsError as error:
        raise in_client_words(error, result.names) from None
    result.fields.setdefault("pipeline_id", job.pipeline_id)
    return job, result


def _refuse_own_fields(job: dict[str, Any]) -> None:
    """Refuse what the client does itself, or what only the server's machine may say."""
    problems = [
        f"{name}: is not the server's to do; leave it out"
        for name in job
        if name in NOT_SERVED and not (name == "models" and job[name] in (None, TINY))
    ]
    if problems:
        raise JobError(*problems)


class _SubmittedFiles:
    """Resolves the names of one submission: files of its set first, then names under the roots."""

    def __init__(self, files: Files, place: Path, submission: Submission) -> None:
        self._files, self._place, self._submission = files, place, submission
        self._folders = {str(parent) for name in submission.files for parent in PurePosixPath(name).parents} - {"."}

    def path_of(self, name: str, field_name: str) -> Path:
        """Return the path of a name that stands in a field. Raises JobError or MissingInputError."""
        if field_name == "lora_scales":
            return self._lora(name)
        if name in self._submission.files or name in self._folders or self._is_pattern(name):
            return self._place / name
        return self._files.path_of(name, field_name)

    def _is_pattern(self, name: str) -> bool:
        path = PurePosixPath(name)
        return str(path.parent) in self._folders and ".." not in path.parts and is_pattern(self._place / name)

    def _lora(self, name: str) -> Path:
        digest = self._submission.loras.get(name)
        try:
            path = self._files.loras.path_of(name)
        except MissingInputError:
            same = [other for other in self._files.loras.names() if PurePosixPath(other).name == name]
            if not same:
                raise
            if len(same) > 1 and digest is None:
                raise JobError(f"{shown(name)}: --lora-root holds {len(same)} files of that name") from None
            paths = [self._files.loras.path_of(other) for other in same]
            path = next((path for path in paths if digest is not None and sha256_of(path) == digest), paths[0])
        if digest is not None and sha256_of(path) != digest:
            raise JobError(f"{shown(name)}: the file under the server's --lora-root has another content than yours")
        return path
