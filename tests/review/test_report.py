from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.golden.running import Run

JOB = "pipeline_id: slate\nprompt: a <cat> & co\nnum_frames: 33\nheight: 64\nwidth: 112\n"
JOB += "chunk_specs: [{frame: 21, text: a dog}]\n"


@pytest.fixture
def film(run: Run, tmp_path: Path) -> str:
    """A rendered film that carries its job, and the progress of its render in `progress`."""
    (tmp_path / "job.yaml").write_text(JOB)
    assert run("render", "job.yaml", "-o", "film.npy", "-q", "--progress-file", "progress").code == 0
    return "film.npy"


def test_the_page_tells_everything_and_needs_no_other_file(run: Run, film: str) -> None:
    ran = run("report", film, "--progress-file", "progress")
    assert (ran.code, ran.out) == (0, "wrote film.html\n")
    page = Path("film.html").read_text()
    assert "33 frames of 112x64 at 16 frames per second, 3 chunks" in page
    assert "a &lt;cat&gt; &amp; co" in page and "<cat>" not in page
    assert "<th>seconds</th>" in page and page.count("<svg") == 5 and "<td>9 to 20</td>" in page
    assert "chunk_specs:\n- frame: 21" in page  # the job
    assert [link[:23] for link in re.findall(r'(?:src|href)="([^"]*)"', page)] == ["data:image/webp;base64,"]
    assert "url(" not in page and "<script" not in page


def test_a_film_without_a_job_has_a_report_too(run: Run, film: str) -> None:
    Path(f"{film}.json").unlink()
    assert run("report", film, "-o", "plain.html").code == 0
    page = Path("plain.html").read_text()
    assert "<h2>Prompts</h2>" not in page and "<h2>Job</h2>" not in page and page.count("<svg") == 5


@pytest.mark.parametrize(
    ("arguments", "code", "fault"),
    [
        (("-",), 2, "needs a film in a file"),
        (("film.npy", "-o", "a.pdf"), 2, "must end in .html"),
        (("film.npy", "--progress-file", "gone"), 66, "no such file"),
        (("film.npy", "--progress-file", "job.yaml"), 65, "is no JSON progress"),
        (("film.npy", "--progress-file", "/dev/zero"), 66, "no such file"),
        (("film.npy", "-o", "there.html"), 73, "-y replaces it"),
    ],
)
@pytest.mark.usefixtures("film")
def test_faults_are_one_line(run: Run, arguments: tuple[str, ...], code: int, fault: str) -> None:
    Path("there.html").touch()
    ran = run("report", *arguments)
    assert ran.code == code and fault in ran.err and len(ran.err.splitlines()) == 1


def test_the_progress_tells_figures_too(film: str) -> None:  # noqa: ARG001  (it is rendered)
    kinds = [json.loads(line)["event"] for line in Path("progress").read_text().splitlines()]
    assert kinds.count("figures") == kinds.count("chunk") == 3
