"""Films in a notebook, seen without one: through the methods that Jupyter calls."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scope_batch import Film, Job, load_job
from scope_batch.errors import MissingInputError, UsageError


def job_of(**fields: Any) -> Job:
    Path("storm.yaml").write_text(json.dumps({"prompt": "a cat", **fields}))
    return load_job("storm.yaml")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with films of a few bytes each."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "films").mkdir()
    for name in ("a.mp4", "b b.webm"):
        (tmp_path / "films" / name).write_bytes(name.encode())
    return tmp_path


def source_of(film: Film) -> str:
    html = film._repr_mimebundle_()["text/html"]
    assert html.startswith("<video controls") and html == film._repr_html_()
    (source,) = re.findall(r'<source src="([^"]*)" type="video/\w+">', html)
    return str(source)


def test_a_small_film_is_part_of_the_notebook() -> None:
    kind, data = source_of(Film(Path("films/b b.webm"))).split(",")
    assert kind == "data:video/webm;base64" and base64.b64decode(data) == b"b b.webm"


def test_a_large_film_is_read_from_its_path(folder: Path) -> None:
    assert source_of(Film(folder / "films" / "b b.webm", embed=3)) == "films/b%20b.webm"


def test_the_width_bounds_the_player() -> None:
    assert 'style="width:320px;max-width:100%"' in Film(Path("films/a.mp4"), width=320)._repr_html_()
    assert 'style="max-width:100%"' in Film(Path("films/a.mp4"))._repr_html_()


def test_a_job_shows_its_first_output_that_browsers_play() -> None:
    job = job_of(output=["films/raw.npy", "films/b b.webm", "films/a.mp4"])
    assert job.display().path == Path("films/b b.webm")
    assert job.display("films/a.mp4", width=99) == Film(Path("films/a.mp4"), 99)


def test_a_job_without_outputs_shows_what_a_render_calls_it(folder: Path) -> None:
    (folder / "job.mp4").write_bytes(b"from Python")
    assert job_of().display().path == Path("job.mp4")
    (folder / "storm.mp4").write_bytes(b"from the command line")
    assert job_of().display().path == Path("storm.mp4")


def test_a_film_that_is_not_there_or_not_played_is_one_line() -> None:
    with pytest.raises(MissingInputError, match=r"^storm\.mp4: no such file: render the job first$"):
        job_of().display()
    with pytest.raises(UsageError, match=r"^films/raw\.npy: not played by browsers; allowed: \.mp4, \.webm, \.mov$"):
        job_of(output="films/raw.npy").display()
    film = Film(Path("films/a.mp4"))
    film.path.unlink()
    with pytest.raises(MissingInputError, match="no such file"):
        film._repr_html_()


def test_nothing_of_a_notebook_is_imported() -> None:
    code = "import sys; from scope_batch import Film; sys.exit(any(name.startswith('IPython') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
