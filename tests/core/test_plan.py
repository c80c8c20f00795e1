"""Checks that a plan is a value: it pickles, compares, and has one hash in every process."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from scope_batch.core.device_memory import DeviceMemory
from scope_batch.core.plan import Chunk, Plan, ProcessorRef, Vace
from scope_batch.core.sound import SoundTrack
from tests.plan.helpers import plan, video_plan
from tests.processors.kinds import install

ENTRIES: tuple[dict[str, Any], ...] = (
    {"chunk": 1, "text": "B", "transition_num_steps": 4},
    {"chunk": 3, "text": "C", "transition_num_steps": 3},
    {"chunk": 5, "first_frame_image": "/first.png", "lora_scales": {"/a.safetensors": 0.5}},
)
EDGES = {"id": "edges", "params": {"strength": 1.0}}


def full_plan(**fields: Any) -> Plan:
    """A plan in which every field is set."""
    original = video_plan(*ENTRIES, post_processor_id=[EDGES], lora_scales={"/a.safetensors": 0.25}, **fields)
    memory = DeviceMemory(*range(11), read=True)
    sound = SoundTrack(Path("/a.wav"), Fraction(0), Fraction(1, 3), "hold", Fraction(1))
    return dataclasses.replace(original, memory=memory, sound=sound)


def test_equal_jobs_have_equal_plans_with_one_hash() -> None:
    one, other = full_plan(), full_plan()
    assert one is not other and one == other and hash(one) == hash(other)
    assert one.fingerprint() == other.fingerprint() and len(one.fingerprint()) == 64


def test_a_plan_survives_pickling() -> None:
    original = full_plan()
    assert pickle.loads(pickle.dumps(original)) == original


def test_a_plan_with_processors_of_another_package_survives_pickling(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    original = plan(post_processor_id=["double", {"id": "trail"}])
    monkeypatch.undo()  # neither the package nor its classes are needed to read the plan
    again = pickle.loads(pickle.dumps(original))
    assert again == original and hash(again) == hash(original) and again.delivered(again.chunks[0]) == range(16)


def test_the_hash_is_the_same_in_processes_with_other_seeds_for_strings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    original = full_plan(pre_processor_id=["ahead"])  # the other processes do not have its package
    (tmp_path / "plan.pickle").write_bytes(pickle.dumps(original))
    code = "import pickle, sys; print(hash(pickle.load(sys.stdin.buffer)), 'torch' in sys.modules, hash('a'))"
    seen = []
    for seed in ("1", "2"):
        with (tmp_path / "plan.pickle").open("rb") as file:
            environment = {**os.environ, "PYTHONHASHSEED": seed}
            command = [sys.executable, "-c", code]
            seen.append(subprocess.run(command, stdin=file, env=environment, capture_output=True, check=True).stdout)
    hashes, torch_loaded, string_hashes = zip(*(line.split() for line in seen), strict=True)
    assert hashes == (str(hash(original)).encode(),) * 2 and set(torch_loaded) == {b"False"}
    assert string_hashes[0] != string_hashes[1]


def changed(value: Any) -> Any:
    """Another value of about the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float | Fraction):
        return value + 1
    if isinstance(value, str):
        return f"{value}?"
    if isinstance(value, tuple):
        return (*value, value[-1]) if value else (1,)
    return None if value is not None else 1


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Plan)])
def test_every_field_of_a_plan_counts(name: str) -> None:
    original = full_plan()
    other = object.__new__(Plan)  # a plan whose fields contradict each other cannot be constructed
    for field in dataclasses.fields(Plan):
        value = getattr(original, field.name)
        object.__setattr__(other, field.name, changed(value) if field.name == name else value)
    assert other != original and other.fingerprint() != original.fingerprint()


@pytest.mark.parametrize("name", sorted({field.name for field in dataclasses.fields(Chunk)} - {"keep"}))
def test_every_field_of_a_chunk_counts(name: str) -> None:
    original = full_plan()
    other = dataclasses.replace(original.chunks[5], **{name: changed(getattr(original.chunks[5], name))})
    chunks = (*original.chunks[:5], other, *original.chunks[6:])
    assert dataclasses.replace(original, chunks=chunks).fingerprint() != original.fingerprint()


def test_the_parameters_of_a_processor_count_and_their_order_does_not() -> None:
    def fingerprint(parameters: dict[str, Any]) -> str:
        return dataclasses.replace(plan(), pre_processors=(ProcessorRef("x", parameters),)).fingerprint()

    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1}) != fingerprint({"a": 1, "b": [3]})


def test_the_plan_keeps_its_own_copy_of_parameters() -> None:
    parameters = {"strength": 1.0}
    original = plan(post_processor_id=[{"id": "edges", "params": parameters}])
    before = original.fingerprint()
    parameters["strength"] = 2.0
    assert original.fingerprint() == before


def test_a_steered_chunk_counts_what_steers_it() -> None:
    original = full_plan()
    vace = original.chunks[5].vace
    assert isinstance(vace, Vace) and vace.stills[0].path == Path("/first.png")
    other = dataclasses.replace(original.chunks[5], vace=dataclasses.replace(vace, scale=0.5))
    chunks = (*original.chunks[:5], other, *original.chunks[6:])
    assert dataclasses.replace(original, chunks=chunks).fingerprint() != original.fingerprint()
