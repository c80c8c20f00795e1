from __future__ import annotations

from pathlib import Path

import pytest

from scope_batch.job import load_text
from scope_batch.job.paths import public_prompts
from scope_batch.plan.view.film_map import FilmMap
from scope_batch.render.prepare import prepare_job

JOB = """
pipeline_id: slate
prompt: a cat
num_frames: 40
chunk_specs:
  - {frame: 21, text: a dog}
"""


def test_frames_know_their_chunk_and_prompt() -> None:
    film = FilmMap.of_plan(prepare_job(load_text(JOB, name="job.yaml")))
    assert film.chunk_frames == (9, 12, 12, 7) and film.prompts == ((0, "a cat"), (21, "a dog"))
    assert [film.chunk_at(frame) for frame in (0, 8, 9, 39, 99)] == [0, 0, 1, 3, 3]
    assert [film.prompt_at(frame) for frame in (0, 20, 21, 39)] == ["a cat", "a cat", "a dog", "a dog"]
    assert film.prompt_changes() == [21]


def test_a_map_survives_its_json_which_counts_equal_chunks() -> None:
    film = FilmMap.of_plan(prepare_job(load_text(JOB, name="job.yaml")))
    assert film.to_json()["chunk_frames"] == [[9, 1], [12, 2], [7, 1]]
    assert FilmMap.of_json(film.to_json()) == film


@pytest.mark.parametrize("values", [None, {}, {"fps": "16"}, {"fps": "1/0", "chunk_frames": []}, [1]])
def test_other_values_are_no_map(values: object) -> None:
    assert FilmMap.of_json(values) is None


def test_the_value_of_a_variable_stays_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANIMAL", "secret beast")
    job = load_text(JOB.replace("a dog", "'a ${ANIMAL}'"), name="job.yaml", folder=tmp_path)
    film = FilmMap.of_plan(prepare_job(job), public_prompts(job, job.source))
    assert film.prompts == ((0, "a cat"), (21, "a ${ANIMAL}"))
