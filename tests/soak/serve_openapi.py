"""Calls everything in the OpenAPI document with valid and invalid values, and a batch with every wrong field.

    python -m tests.soak.serve_openapi --cases 2000 --bodies 2000

--cases   so many calls that schemathesis makes from the document: no 5xx, no status or content type that it leaves out.
--bodies  so many requests of the batch protocol with a wrong value or key.

The application runs in this process, with a job that has ended; jobs that are accepted end at once. Prints the number
of answers by status; ends with a failed assertion at the first fault.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st
from schemathesis.checks import content_type_conformance, not_a_server_error, status_code_conformance
from schemathesis.core.transport import Response
from schemathesis.generation import GenerationMode

from tests.serve.test_application import REQUEST, World, make_world
from tests.soak.fuzz_jobs import KEYS, VALUES

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance]
FIELDS: dict[str, Any] = {
    **REQUEST,
    "height": 64, "width": 64, "seed": 1, "denoising_steps": [1000, 750], "lora_scales": {},
    "chunk_specs": [{"chunk": 1, "text": "a dog", "seed": 3, "transition_num_steps": 2}], "audio": "none",
    "fps": 16, "manage_cache": True,
}  # fmt: skip
"""A valid request."""
NAMES = (
    *FIELDS, *KEYS, "noise_scale", "pre_processor_id", "input_path", "data_blob_path", "first_frame_image",
    "last_frame_image", "vace_ref_images", "vace_frames", "vace_frames_shape", "vace_frames_offset", "vace_masks",
    "kv_cache_attention_bias", "chunk_grid", "first_frames", "chunk_prompts", "transitions", "cache_reset_chunks",
    "prompts", "text", "reset_cache",
)  # fmt: skip


@contextmanager
def served(folder: Path) -> Iterator[World]:
    """Yield an application with a loaded pipeline and a finished job."""
    with make_world(folder) as world:
        asyncio.run(_send(world, "POST", "/api/v1/pipeline/load", json={"pipeline_ids": ["slate"]}))
        world.runner.then = world.runner.finish
        world.start()
        yield world


async def _send(world: World, method: str, path: str, **arguments: Any) -> httpx.Response:
    transport = httpx.ASGITransport(world.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        return await http.request(method, path, **arguments)


def call_document(world: World, cases: int, seed: int) -> Counter[int]:
    """Let schemathesis make the calls."""
    document = asyncio.run(_send(world, "GET", "/openapi.json")).json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url="http://localhost")
    operations = [result.ok() for result in schema.get_all_operations()]
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    calls = st.one_of([
        operation.as_strategy(generation_mode=mode) for operation in operations for mode in modes
        if mode is GenerationMode.POSITIVE or operation.body or operation.query or operation.headers
    ])  # fmt: skip
    jobs = [record.id for record in world.table.records()]
    codes: Counter[int] = Counter()

    @with_seed(seed)
    @settings(max_examples=cases, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=[*HealthCheck])  # fmt: skip
    @given(case=calls, real=st.booleans())
    def call(case: Any, real: bool) -> None:
        if real and "job" in (case.path_parameters or {}):
            case.path_parameters["job"] = jobs[0]
            if case.method == "DELETE":
                case.path_parameters["job"] = world.start()
        arguments = case.as_transport_kwargs(base_url="http://localhost")
        request = httpx.Request(
            arguments["method"], arguments["url"], params=arguments.get("params"), headers=_headers(arguments),
            content=arguments.get("data"), json=arguments.get("json"), cookies=arguments.get("cookies"),
        )  # fmt: skip
        answer = asyncio.run(_sent(world, request))
        codes[int(answer.status_code)] += 1
        case.validate_response(_response(answer), checks=CHECKS)

    call()
    return codes


def _headers(arguments: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    headers = arguments.get("headers") or {}
    return [(name.encode(), str(value).encode("utf-8", "surrogateescape")) for name, value in headers.items()]


async def _sent(world: World, request: httpx.Request) -> httpx.Response:
    transport = httpx.ASGITransport(world.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport) as http:
        return await http.send(request)


def _response(answer: httpx.Response) -> Response:
    return Response.from_httpx(answer, verify=False)


def post_wrong_bodies(world: World, bodies: int, seed: int) -> Counter[int]:
    """Post requests of the protocol in which one or two fields have a wrong value or name."""
    chance = random.Random(seed)
    codes: Counter[int] = Counter()
    accepted = asyncio.run(_send(world, "POST", "/api/v1/batch", json=FIELDS))
    assert accepted.status_code == 200, accepted.text
    for _ in range(bodies):
        fields = copy.deepcopy(FIELDS)
        for name in chance.sample([*FIELDS], k=len(FIELDS) // 2):
            if name not in REQUEST:
                del fields[name]
        for _ in range(chance.randint(1, 2)):
            entries = fields.get("chunk_specs")
            place = chance.choice([fields, entries[0]]) if entries == FIELDS["chunk_specs"] else fields
            place[chance.choice([*place, *NAMES])] = chance.choice(VALUES)
        body = json.dumps(fields, default=str).encode("utf-8", "surrogatepass")
        answer = asyncio.run(_send(world, "POST", "/api/v1/batch", content=body))
        assert answer.status_code in (200, 400, 413, 422), f"{answer.status_code}: {body[:2000]!r}"
        codes[int(answer.status_code)] += 1
    return codes


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("cases", "bodies", "seed"):
        parser.add_argument(f"--{name}", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-openapi-") as folder, served(Path(folder)) as world:
        if options.cases:
            print(f"calls from the document: {dict(sorted(call_document(world, options.cases, options.seed).items()))}")
        if options.bodies:
            print(f"wrong bodies: {dict(sorted(post_wrong_bodies(world, options.bodies, options.seed).items()))}")


if __name__ == "__main__":
    run()
    sys.exit(0)
