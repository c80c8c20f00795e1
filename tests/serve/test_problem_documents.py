from __future__ import annotations

import logging

import pytest
from fastapi import FastAPI
from pydantic import BaseModel, Field

from scope_batch.errors import (
    JobError,
    MissingInputError,
    OutputError,
    OutputExistsError,
    ScopeBatchError,
    TemporaryError,
    TimeLimitError,
    UnavailableError,
    UsageError,
)
from scope_batch.jobs.records import BusyError
from scope_batch.serve.problem_documents import answer_with_problems
from tests.serve.conftest import Call


class Body(BaseModel):
    height: int = Field(ge=64)


def app_that_raises(error: Exception) -> FastAPI:
    app = FastAPI()
    answer_with_problems(app)

    @app.get("/")
    async def get() -> None:
        raise error

    @app.post("/")
    async def post(body: Body) -> None: ...

    return app


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("x"), 400),
        (JobError("x"), 422),
        (MissingInputError("x"), 422),
        (OutputExistsError("x"), 409),
        (BusyError("x"), 409),
        (UnavailableError("x"), 503),
        (TemporaryError("x"), 503),
        (TimeLimitError("x"), 503),
        (OutputError("x"), 507),
        (ScopeBatchError("x"), 500),
        (ValueError("x"), 500),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_is_a_problem_document(error: Exception, status: int, call: Call) -> None:
    answer = call(app_that_raises(error), "GET", "/")
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "detail"} <= answer.json().keys()


def test_a_job_error_lists_a_line_per_problem(call: Call) -> None:
    answer = call(app_that_raises(JobError("seed: too small", "width: too large")), "GET", "/").json()
    assert answer["problems"] == ["seed: too small", "width: too large"]
    assert answer["detail"] == "2 problems; the first: seed: too small"


@pytest.mark.parametrize("error", [ValueError("/secret/path"), OutputError("/secret/path"), TemporaryError("/secret")])
def test_a_fault_of_the_server_goes_to_the_log_only(
    error: Exception, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = call(app_that_raises(error), "GET", "/")
    assert "secret" not in answer.text
    assert "/secret" in caplog.text


def test_a_wrong_body_names_the_place_and_does_not_repeat_the_value(call: Call) -> None:
    answer = call(app_that_raises(ValueError()), "POST", "/", json={"height": "p4ssw0rd"})
    assert answer.status_code == 422
    assert answer.json()["problems"][0].startswith("body.height: ")
    assert "p4ssw0rd" not in answer.text


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", "/", 405)])
def test_the_routers_own_errors_are_problem_documents(method: str, path: str, status: int, call: Call) -> None:
    answer = call(app_that_raises(ValueError()), method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
