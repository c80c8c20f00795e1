"""No name that a client sends, in any field of any call, leads to a file outside the server's folders.

The watch over these tests (conftest.py) sees to it that none is opened, changed or removed on the way to the refusal.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from scope_batch.job.paths import PATH_FIELDS
from tests.serve.conftest import Call
from tests.serve.test_application import REQUEST, World, load, make_world
from tests.serve.test_roots import ATTACKS, SECRET

JSON = {"Content-Type": "application/json"}
FAMILY = "/api/v1/batch"
LISTS = ("vace_ref_images",)
OF_ENTRIES = ("input_video",)
"""Path fields that only an entry of `chunk_specs` has."""
NOT_OF_REQUESTS = ("models", "image", "images")
"""The first is not served; the others stand in lists of an older revision of the protocol."""


def requests_with(name: str) -> list[tuple[dict[str, Any], list[str]]]:
    """Return requests that between them have this name in every field that takes a file, each with its bad places."""
    single = [field for field in sorted(PATH_FIELDS) if field not in (*LISTS, *OF_ENTRIES, *NOT_OF_REQUESTS)]
    of_entries = ["first_frame_image", "last_frame_image", "vace_frames", "vace_masks", *OF_ENTRIES]
    entry = dict.fromkeys(of_entries, name) | {"chunk": 0, "vace_ref_images": [name], "lora_scales": {name: 1}}
    lists = {field: [name] for field in LISTS}
    now = dict.fromkeys(single, name) | lists | {"lora_scales": {name: 1}, "chunk_specs": [entry]}
    before = {
        "first_frames": [{"chunk": 0, "image": name}],
        "last_frames": [{"chunk": 0, "image": name}],
        "vace_ref_images": [{"chunk": 0, "images": [name]}],
    }
    places = [*single, *LISTS, "lora_scales", *(f"chunk_specs[0].{field}" for field in entry if field != "chunk")]
    return [(now, places), (before, [*before])]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("attacked")
    with make_world(folder) as made:
        (folder / "secret.txt").write_text(SECRET)
        for root in (folder / "assets", folder / "lora"):
            (root / "sub").mkdir()
            (root / "inside.txt").write_text("inside")
            (root / "link_out.txt").symlink_to(folder / "secret.txt")
            (root / "link_out_relative.txt").symlink_to("../secret.txt")
            (root / "link_in.txt").symlink_to("inside.txt")
            (root / "link_loop").symlink_to("link_loop")
            (root / "link_folder_out").symlink_to(folder)
            (root / "link_folder_in").symlink_to("sub")
            (root / "link_to_proc").symlink_to("/proc/self")
            (root / "device").symlink_to("/dev/zero")
            os.mkfifo(root / "sub" / "pipe")
        yield made


@pytest.fixture(params=ATTACKS, ids=lambda name: ascii(name)[:40])
def name(request: pytest.FixtureRequest, world: World) -> str:
    return str(request.param).replace("{root}", str(world.folder / "assets")).replace("{outside}", str(world.folder))


def test_no_field_of_a_request_takes_the_name(name: str, world: World, call: Call) -> None:
    load(world, call)
    for fields, places in requests_with(name):
        answer = call(world.app, "POST", FAMILY, content=json.dumps(REQUEST | fields))
        assert answer.status_code == 422
        lines = answer.json().get("problems", [])
        assert lines[0].startswith("body: ") or [at for at in places if not any(x.startswith(at) for x in lines)] == []
        assert SECRET not in answer.text
    assert world.table.records() == []


def test_no_field_of_a_job_file_takes_the_name(name: str, world: World, call: Call) -> None:
    job = json.dumps(REQUEST | {"input_path": name, "first_frame_image": name, "lora_scales": {name: 1}})
    submission = {"job": json.loads(job), "files": {}}
    wrong = [
        call(world.app, "POST", "/api/v1/jobs", content=job, headers={"Content-Type": "application/yaml"}),
        call(world.app, "POST", "/api/v1/submissions", content=json.dumps(submission)),
        call(world.app, "POST", "/api/v1/submissions", content=json.dumps({"job": REQUEST, "files": {"x.png": name}})),
    ]
    assert [answer.status_code for answer in wrong] == [422] * 3
    assert all(SECRET not in answer.text for answer in wrong)
    assert world.table.records() == []


def test_no_other_call_takes_the_name(name: str, world: World, call: Call) -> None:
    text = name.encode("utf-8", "surrogateescape")
    before = sorted(path for path in world.folder.rglob("*") if "state" not in path.parts)
    lora = json.dumps({"pipeline_ids": ["slate"], "load_params": {"loras": [{"path": name}]}})
    answers = {
        "load": call(world.app, "POST", "/api/v1/pipeline/load", content=lora, headers=JSON),
        "download": call(world.app, "GET", f"{FAMILY}/download?path={quote(text)}"),
        "state": call(world.app, "GET", f"{FAMILY}/{quote(text, safe='')}"),
        "events": call(world.app, "GET", f"{FAMILY}/{quote(text, safe='')}/events"),
        "preview": call(world.app, "GET", f"/api/v1/jobs/{quote(text, safe='')}/preview"),
        "delete": call(world.app, "DELETE", f"{FAMILY}/{quote(text, safe='')}"),
        "asset": call(world.app, "POST", f"/api/v1/assets?filename={quote(text)}", content=b"x"),
    }  # fmt: skip
    codes = {what: answer.status_code for what, answer in answers.items() if not answer.is_redirect}  # "/" at the end
    assert {what: code for what, code in codes.items() if not 400 <= code < 500} == {}
    assert sorted(path for path in world.folder.rglob("*") if "state" not in path.parts) == before
