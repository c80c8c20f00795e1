from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import scope_batch.golden.golden as goldens
from tests.golden.films import one_level
from tests.golden.running import Run


@pytest.fixture
def golden(run: Run) -> Path:
    """The golden of `job.yaml`."""
    assert run("golden", "bless", "job.yaml", "--note", "first").code == 0
    return Path("job.golden")


@pytest.mark.usefixtures("golden")
def test_the_same_render_passes(run: Run) -> None:
    ran = run("golden", "verify", "job.yaml", "--report", "report")
    assert ran.code == 0 and ran.out.startswith("ok     job.yaml: equal bit for bit (any-")
    assert sorted(path.name for path in Path("report").iterdir()) == ["golden.json", "junit.xml"]


def test_a_changed_job_fails_at_the_frame_and_chunk_with_its_cause(run: Run) -> None:
    with Path("job.yaml").open("a") as file:
        file.write("chunk_specs:\n  - {frame: 21, text: a cow}\n")
    assert run("golden", "bless", "job.yaml").code == 0
    change = ("--set", "chunk_specs.0.text=a dog")
    ran = run("golden", "verify", "job.yaml", *change, "--report", "report", "--json")
    (told,) = json.loads(ran.out)["jobs"]
    assert ran.code == 1 and (told["frame"], told["chunk"], told["tier"]) == (21, 2, "exact")
    assert told["plan_row"]["prompts"] == [{"text": "a dog", "weight": 1.0}]
    assert told["job_changes"][0]["field"] == "chunk_specs[0].text"
    assert 'plan of chunk 2: frames 21 to 32, recache: prompt change, prompt "a dog"' in told["lines"][0]
    with Image.open(told["picture"]) as picture:
        assert picture.width > 700
    failure = ElementTree.parse("report/junit.xml").getroot()[0][0].find("failure")
    assert failure is not None and failure.get("message") == told["headline"]


def test_another_environment_is_told_and_judged_by_thresholds(
    run: Run, golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(goldens, "environment_of", lambda _: {"device": "cpu", "CPU kernels": "AVX2"})
    assert "equal bit for bit" in run("golden", "verify", "job.yaml").out
    ran = run("golden", "verify", "job.yaml", "--set", "prompt=a pig")
    assert ran.code == 1 and "other environment: CPU kernels: nothing -> AVX2" in ran.out
    assert run("golden", "bless", "job.yaml").code == 0
    assert len([path for path in golden.iterdir() if path.is_dir()]) == 2


@pytest.mark.usefixtures("golden")
def test_a_film_is_verified_in_place_of_a_render(run: Run) -> None:
    run("render", "job.yaml", "-o", "film.mp4", "-o", "film.npy", "-q")
    assert "equal bit for bit" in run("golden", "verify", "job.yaml", "--film", "film.npy").out
    assert "within the thresholds of encoded" in run("golden", "verify", "job.yaml", "--film", "film.mp4").out
    film = np.load("film.npy")
    film[[3, 30]] = film[[30, 3]]
    np.save("swapped.npy", film)
    ran = run("golden", "verify", "job.yaml", "--film", "swapped.npy")
    assert ran.code == 1 and "frame 3 (chunk 0)" in ran.out and "frames 3 and 30 are exchanged" in ran.out


@pytest.mark.usefixtures("golden")
def test_a_frame_that_the_program_changed_is_named_as_that(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("render", "job.yaml", "-o", "film.npy", "-q")
    film = np.load("film.npy")
    film[17] = one_level(film[17])

    def stream(*_: object) -> object:
        from tests.golden.films import stream as of_film

        return of_film(film, 16)

    monkeypatch.setattr(goldens, "job_stream", stream)
    ran = run("golden", "verify", "job.yaml")
    assert ran.code == 1 and "frame 17 (chunk 1): not the bits of the golden" in ran.out
    assert "the program has changed" in ran.out


@pytest.mark.usefixtures("golden")
def test_the_goldens_are_tested(run: Run) -> None:
    assert run("golden", "self-test", "job.yaml").code == 0
    Path("job.golden/thresholds.yaml").write_text("other_machine: {min_psnr: 1}\n")
    ran = run("golden", "self-test", "job.yaml")
    assert ran.code == 1 and "the thresholds of other_machine are too loose" in ran.out


def test_all_frames_can_be_kept(run: Run) -> None:
    assert run("golden", "bless", "job.yaml", "--pictures", "all", "--golden", "kept").code == 0
    assert len(list(Path("kept").glob("*/frame-*.png"))) == 33


@pytest.mark.parametrize(
    ("arguments", "code", "fault"),
    [
        (("verify", "job.yaml"), 66, "golden bless makes one"),
        (("verify", "gone.yaml"), 66, "gone.yaml"),
        (("verify", "-"), 2, "--golden says where"),
        (("bless", "job.yaml", "job.yaml", "--golden", "x"), 2, "one job"),
        (("bless", "job.yaml", "--pictures", "0"), 2, "neither a number"),
    ],
)
def test_faults_are_one_line(run: Run, arguments: tuple[str, ...], code: int, fault: str) -> None:
    ran = run("golden", *arguments)
    assert ran.code == code and fault in ran.err and len(ran.err.splitlines()) == 1


def test_one_job_that_fails_does_not_stop_the_others(run: Run) -> None:
    Path("other.yaml").write_text(Path("job.yaml").read_text())
    run("golden", "bless", "other.yaml")
    ran = run("golden", "verify", "job.yaml", "other.yaml", "--report", "report")
    assert ran.code == 66 and "ok     other.yaml" in ran.out
    suite = ElementTree.parse("report/junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("errors")) == ("2", "1")
