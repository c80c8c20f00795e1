from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.golden.films import moving_film, one_level
from tests.golden.running import Run


@pytest.fixture
def films(tmp_path: Path) -> None:
    """`a.npy`, and `b.npy` in which frame 20 is one level brighter."""
    film = moving_film()
    np.save(tmp_path / "a.npy", film)
    film[20] = one_level(film[20])
    np.save(tmp_path / "b.npy", film)


@pytest.mark.usefixtures("films")
def test_a_difference_is_named_and_ends_with_1(run: Run) -> None:
    ran = run("compare", "a.npy", "b.npy")
    assert ran.code == 1 and ran.out.splitlines()[0].startswith("first difference: frame 20: largest difference 1/255")
    assert ran.out.splitlines()[-1] == "they differ: 1 of 24 frames are over the threshold"


@pytest.mark.usefixtures("films")
def test_thresholds_decide(run: Run) -> None:
    assert run("compare", "a.npy", "b.npy", "--fail", "1/255").code == 0
    assert run("compare", "a.npy", "b.npy", "--min-psnr", "50").code == 1
    warned = run("compare", "a.npy", "b.npy", "--fail", "0.1", "--warn", "0")
    assert warned.code == 0 and "with a warning: 1 of 24 frames" in warned.out


@pytest.mark.usefixtures("films")
def test_json_and_picture(run: Run) -> None:
    told = json.loads(run("compare", "a.npy", "b.npy", "--json", "--picture", "out/diff.png").out)
    assert told["judgement"] == "differs" and told["first_failure"]["frame"] == 20 and len(told["frames"]) == 24
    with Image.open("out/diff.png") as picture:
        assert picture.width > 3 * 240
    assert run("compare", "a.npy", "b.npy", "--picture", "out/again.png").out.endswith("wrote out/again.png\n")


@pytest.mark.usefixtures("films")
def test_a_folder_of_pictures_equals_its_array(run: Run) -> None:
    Path("frames").mkdir()
    for index, frame in enumerate(np.load("a.npy")):
        Image.fromarray(frame).save(f"frames/{index:05}.png")
    assert run("compare", "frames", "a.npy").code == 0
    assert run("compare", "frames/%05d.png", "b.npy").code == 1


@pytest.mark.usefixtures("films")
def test_standard_input_is_an_array(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(Path("a.npy").read_bytes())))
    assert run("compare", "-", "a.npy").code == 0
    assert run("compare", "-", "-").code == 2


def test_a_film_equals_what_its_job_renders(run: Run) -> None:
    assert run("render", "job.yaml", "-o", "film.mkv", "-o", "film.npy", "-q").code == 0
    ran = run("compare", "job.yaml", "film.npy")
    assert (ran.code, ran.out) == (0, "equal: 33 frames, bit for bit\n")
    assert run("compare", "film.mkv", "film.npy", "--min-ssim", "0.9").code == 0


def test_the_metadata_tell_chunk_and_prompt(run: Run) -> None:
    run("render", "job.yaml", "-o", "film.npy", "-q")
    film = np.load("film.npy")
    film[25] = one_level(film[25])
    np.save("other.npy", film)
    assert 'frame 25 (chunk 2, its frame 4, under "a cat")' in run("compare", "film.npy", "other.npy").out


@pytest.mark.parametrize(
    ("arguments", "code", "fault"),
    [
        (("gone.npy", "a.npy"), 66, "gone.npy"),
        (("job.yaml", "job.yaml"), 2, "one of A and B may be a job"),
        (("a.npy", "a.npy", "--picture", "a.jpg"), 2, "must end in .png"),
        (("a.npy", "a.npy", "--fail", "2"), 2, "is not a difference in 0..1"),
    ],
)
@pytest.mark.usefixtures("films")
def test_faults_are_one_line(run: Run, arguments: tuple[str, ...], code: int, fault: str) -> None:
    ran = run("compare", *arguments)
    assert ran.code == code and fault in ran.err and len(ran.err.splitlines()) == 1
