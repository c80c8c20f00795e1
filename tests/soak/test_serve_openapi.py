"""A small part of the soak program; by hand it makes thousands of calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.test_application import World
from tests.soak.serve_openapi import call_document, post_wrong_bodies, served

SEED = 10_000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with served(tmp_path) as made:
        yield made


def test_no_call_is_a_fault_of_the_server_or_undocumented(world: World) -> None:
    codes = call_document(world, 150, SEED)
    assert {200, 404, 422} <= codes.keys()


def test_a_wrong_body_is_refused_or_warned_about(world: World) -> None:
    codes = post_wrong_bodies(world, 100, SEED)
    assert {200, 422} <= codes.keys()
