"""`branch` renders several endings, and what they begin with once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scope_batch.__main__ import main
from scope_batch.pipelines import PIPELINES
from tests.engine.small import small_engine
from tests.soak.kill import Loaded, write_lora

JOB = {
    "prompt": "a cat",
    "models": "tiny",
    "num_frames": 57,
    "height": 64,
    "width": 64,
    "denoising_steps": [1000, 500],
    "lora_scales": {"style.safetensors": [0.0, 0.1, 0.2]},
    "chunk_specs": [{"chunk": 1, "text": "a dog"}],
    "output": "film.npy",
}
CHUNKS, BRANCH_FRAME, BRANCH_CHUNK = 5, 33, 3
Branch = Callable[..., int]


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """The chunks that are generated, in order; the job is in the working directory."""
    monkeypatch.chdir(tmp_path)
    write_lora(tmp_path / "style.safetensors")
    (tmp_path / "job.json").write_text(json.dumps(JOB))
    loaded = Loaded(small_engine(PIPELINES["longlive"], tiny_vae=True))
    monkeypatch.setattr("scope_batch.render.engine_pool.Engines", lambda *_: loaded)
    chunks: list[int] = []
    from scope_batch.engine.session import CausalSession

    generate = CausalSession.generate

    def counted(self, chunk, *inputs):  # type: ignore[no-untyped-def]
        chunks.append(chunk.index)
        return generate(self, chunk, *inputs)

    monkeypatch.setattr(CausalSession, "generate", counted)
    return chunks


def branch(*changes: str, at: int = BRANCH_FRAME + 2, more: tuple[str, ...] = ()) -> int:
    sets = [word for change in changes for word in ("--set", change)]
    return main(["branch", "job.json", "--at", str(at), *sets, "--progress", "none", *more])


def test_three_endings_render_the_opening_once(generated: list[int], tmp_path: Path) -> None:
    assert branch("text=a fox", "text=a bird", "seed=900") == 0
    assert generated == [0, 1, 2, 3, 4, 3, 4, 3, 4]
    films = [np.load(f"film-{number}.npy") for number in (1, 2, 3)]
    for film in films[1:]:
        assert np.array_equal(film[:BRANCH_FRAME], films[0][:BRANCH_FRAME])
        assert not np.array_equal(film[BRANCH_FRAME:], films[0][BRANCH_FRAME:])
    assert not [*tmp_path.glob(".*.work")]


@pytest.mark.usefixtures("generated")
def test_an_ending_equals_a_whole_render() -> None:
    assert branch("text=a fox", "text=a bird") == 0
    entries = [*JOB["chunk_specs"], {"chunk": BRANCH_CHUNK, "text": "a bird"}]  # type: ignore[misc]
    Path("whole.json").write_text(json.dumps({**JOB, "chunk_specs": entries, "output": "whole.npy"}))
    assert main(["render", "whole.json", "--progress", "none"]) == 0
    assert Path("whole.npy").read_bytes() == Path("film-2.npy").read_bytes()


def test_a_second_run_has_nothing_to_do(generated: list[int]) -> None:
    assert branch("text=a fox", "text=a bird", more=("-o", "{ending}.npy")) == 0
    generated.clear()
    assert branch("text=a fox", "text=a bird", more=("-o", "{ending}.npy")) == 0
    assert generated == []


def test_an_ending_that_changes_the_opening_is_refused(
    generated: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert branch("text=a fox", "chunk_specs.0.text=a horse") == 65
    assert 'endings 1 and 2 differ before frame 33: chunk 1: prompt: "a dog" -> "a horse"' in capsys.readouterr().err
    assert generated == []


@pytest.mark.parametrize(("at", "why"), [(5, "the first chunk"), (57, "frames 0 to 56")])
def test_a_frame_that_leaves_nothing_to_share(
    generated: list[int], capsys: pytest.CaptureFixture[str], at: int, why: str
) -> None:
    assert branch("text=a fox", at=at) == 2
    assert why in capsys.readouterr().err
    assert generated == []


def test_endings_need_names_of_their_own(generated: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    assert branch("text=a fox", "text=a bird", more=("-o", "one.npy")) == 2
    assert "2 endings need {ending}" in capsys.readouterr().err
    assert generated == []


def test_quiet_beside_a_form_of_progress_is_refused(capsys):
    given = ["branch", "job.json", "--at", "9", "--set", "seed=1", "-q", "--progress", "json"]
    assert main(given) == 2 and "-q and --progress json contradict each other" in capsys.readouterr().err
