from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.golden.films import moving_film
from tests.golden.running import Run


@pytest.fixture
def film(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", moving_film())


@pytest.mark.usefixtures("film")
def test_the_sheet_lies_beside_the_film(run: Run) -> None:
    ran = run("sheet", "a.npy")
    assert (ran.code, ran.out) == (0, "wrote a.png\n")
    with Image.open("a.png") as sheet:
        assert sheet.width > 6 * 208


@pytest.mark.usefixtures("film")
def test_a_picture_that_exists_is_replaced_only_when_asked(run: Run) -> None:
    assert run("sheet", "a.npy", "-o", "out/sheet.png").code == 0
    ran = run("sheet", "a.npy", "-o", "out/sheet.png")
    assert ran.code == 73 and "-y replaces it" in ran.err
    assert run("sheet", "a.npy", "-o", "out/sheet.png", "-y", "--columns", "3").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "fault"),
    [
        (("-",), 2, "-o FILE says where to write, and --every N"),
        (("-", "-o", "a.png"), 2, "--every N"),
        (("a.npy", "-o", "a.jpg"), 2, "must end in .png"),
        (("gone.npy",), 66, "gone.npy"),
    ],
)
@pytest.mark.usefixtures("film")
def test_faults_are_one_line(run: Run, arguments: tuple[str, ...], code: int, fault: str) -> None:
    ran = run("sheet", *arguments)
    assert ran.code == code and fault in ran.err and len(ran.err.splitlines()) == 1
