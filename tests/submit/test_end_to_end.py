"""`submit` against a server in a process of its own, compared with `render` on the same machine."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from scope_batch.__main__ import main
from scope_batch.job import load_job
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from tests.serve.test_server import ENDLESS, PATIENCE_S, START, Running, running

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
TOKEN = "0123456789abcdef"
SLATE: dict[str, Any] = {"pipeline_id": "slate", "prompt": "a cat", "num_frames": 30, "height": 64, "width": 64}
Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("server"), "--token", TOKEN, "--token-in-path") as started:
        started.http.headers["Authorization"] = f"Bearer {TOKEN}"
        yield started


@pytest.fixture
def run(server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """run("submit", ...) -> (exit code, standard error)"""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCOPE_BATCH_SERVER", str(server.http.base_url))
    monkeypatch.setenv("SCOPE_BATCH_TOKEN", TOKEN)

    def ran(*arguments: str) -> tuple[int, str]:
        capfd.readouterr()
        code = main(["submit", *arguments])
        return code, capfd.readouterr().err

    return ran


def write(path: Path, **fields: Any) -> str:
    path.write_text(yaml.safe_dump({**SLATE, **fields}))
    return str(path)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def same_as_render(job: str, run: Run, tmp_path: Path) -> None:
    code, err = run(job)
    assert code == 0, err
    (tmp_path / "out").rename(tmp_path / "submitted")
    render_job(load_job(Path(job)), "job", RenderOptions())
    assert files_in(tmp_path / "submitted") == files_in(tmp_path / "out")


def test_every_output_has_the_bytes_of_a_render(run: Run, tmp_path: Path) -> None:
    """Input clip with sound, a folder of pictures, a mask, images, a post-processor, encoder settings, metadata."""
    (tmp_path / "in" / "frames").mkdir(parents=True)
    for index in range(30):
        Image.new("RGB", (64, 64), (index * 8, 0, 0)).save(tmp_path / "in" / "frames" / f"{index:03d}.png")
    with wave.open(str(tmp_path / "in" / "hum.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(range(256)) * 32)
    job = write(
        tmp_path / "in" / "job.yaml",
        input_path=str(EXAMPLES / "clip.mp4"),
        audio="hum.wav",
        audio_length="loop",
        fps=16,
        vace_frames="frames",
        vace_masks=str(EXAMPLES / "assets" / "mask.mp4"),
        vace_length="hold",
        chunk_specs=[{"chunk": 1, "text": "a dog", "vace_ref_images": [str(EXAMPLES / "assets" / "reference.png")]}],
        post_processor_id="gray",
        output=[
            {"path": "out/a.mp4", "crf": 20},
            {"path": "out/a.mkv", "codec": "ffv1"},
            "out/a.npy",
            "out/a/%05d.png",
        ],
    )
    same_as_render(job, run, tmp_path)


@pytest.mark.slow
def test_the_engine_gives_the_bytes_of_a_render(server: Running, run: Run, tmp_path: Path) -> None:
    """The LoRA lies in another folder there."""
    (server.folder / "lora" / "deep").mkdir(exist_ok=True)
    lora = EXAMPLES.parent / "tests" / "analytic_models" / "tint.safetensors"
    (server.folder / "lora" / "deep" / lora.name).write_bytes(lora.read_bytes())
    job = tmp_path / "job.yaml"
    fields = {
        "models": "tiny",
        "prompt": "a cat",
        "num_frames": 9,
        "height": 64,
        "width": 64,
        "denoising_steps": [1000],
    }
    fields |= {"lora_scales": {str(lora): 0.5}, "output": ["out/a.mp4", "out/a.npy"]}
    job.write_text(yaml.safe_dump(fields))
    same_as_render(str(job), run, tmp_path)


def test_a_second_time_nothing_is_rendered(server: Running, run: Run, tmp_path: Path) -> None:
    job = write(tmp_path / "job.yaml", output="out/a.npy")
    assert run(job)[0] == 0
    before = len(jobs(server))
    assert run(job) == (0, "skipped: every output exists and was made from this job\n")
    assert len(jobs(server)) == before
    code, err = run(job, "--set", "seed=7")
    assert (code, "seed" in err) == (73, True)
    assert run(job, "--set", "seed=7", "-y")[0] == 0


def jobs(server: Running) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.http.get("/api/v1/jobs").json()["jobs"]
    return found


def test_progress_is_that_of_a_render(run: Run, tmp_path: Path) -> None:
    code, err = run(write(tmp_path / "job.yaml", output="a.npy"), "--progress", "json")
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert code == 0
    assert events.count("chunk") == 3
    assert [event for event in events if event in ("submitted", "started", "finished")] == [
        "submitted", "started", "finished",
    ]  # fmt: skip


def test_the_token_of_a_url_is_neither_shown_nor_stored(
    server: Running, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCOPE_BATCH_TOKEN")
    monkeypatch.setenv("SCOPE_BATCH_CACHE", str(tmp_path / "cache"))
    url = f"{str(server.http.base_url).rstrip(chr(47))}/t/{TOKEN}"
    code, err = run(write(tmp_path / "job.yaml", output="a.npy"), "--progress", "json", "--server", url)
    assert (code, TOKEN in err, str(server.http.base_url) in err) == (0, False, True), err
    (file,) = (tmp_path / "cache" / "submitted").iterdir()
    assert (file.stat().st_mode & 0o777, TOKEN.encode() in file.read_bytes()) == (0o600, False)


@pytest.mark.parametrize(
    ("arguments", "fields", "code", "message"),
    [
        ((), {"promt": "x"}, 65, "job.yaml:[0-9]+:1: promt: unknown key"),
        ((), {"vace_frames": "none.mp4"}, 66, "no such file"),
        ((), {"output": "a.xyz"}, 65, "unknown extension"),
        ((), {"num_frames": ENDLESS + 1}, 65, "num_frames: must be at most"),
        (("--token", "wrong"), {}, 2, "--token is not the one"),
        (("--server", "gpu:8000"), {}, 2, "is not the URL of a server"),
        (("-o", "{name}.mp4"), {}, 2, "{name} is not known"),
        (("--attach", "x"), {}, 2, "is not the id of a job"),
        (("--attach", 32 * "0"), {}, 66, "there is no such job"),
        (("--attach", 32 * "0", "--detach"), {}, 2, "contradict each other"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_wrong_is_one_line_with_the_code_of_render(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], fields: dict[str, Any], code: int, message: str
) -> None:
    ran, err = run(write(tmp_path / "job.yaml", **fields), *arguments)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (ran, len(lines)) == (code, 1), err
    assert re.search(message, lines[0])
    assert [path.name for path in tmp_path.iterdir()] == ["job.yaml"]


def test_a_server_that_is_away_is_one_line(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code, err = run(write(tmp_path / "job.yaml"), "--server", f"http://127.0.0.1:{port}")
    assert (code, err) == (69, f"error: http://127.0.0.1:{port}: cannot be reached: Connection refused\n")


def test_a_busy_server_is_one_line(server: Running, run: Run, tmp_path: Path) -> None:
    job = server.http.post("/api/v1/submissions", json={"job": {**SLATE, "num_frames": ENDLESS}}).json()["job"]
    code, err = run(write(tmp_path / "job.yaml"))
    server.http.post(f"/api/v1/jobs/{job}/cancel")
    while server.http.get(f"/api/v1/jobs/{job}").json()["state"] == "running":
        pass
    assert (code, err.splitlines()) == (75, [f"error: {server.http.base_url}: busy: 1 of at most 1 jobs run or wait"])


def test_without_job_or_server(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run()[0] == 2
    assert "was not submitted from this machine" in run("--attach", 32 * "0")[1]
    monkeypatch.delenv("SCOPE_BATCH_SERVER")
    code, err = run(write(tmp_path / "job.yaml"))
    assert (code, "needs --server URL" in err) == (2, True)


@pytest.mark.parametrize("is_there", [False, True], ids=["missing", "other content"])
def test_a_lora_that_the_server_lacks_is_one_line(server: Running, run: Run, tmp_path: Path, is_there: bool) -> None:
    lora = tmp_path / f"mine{is_there}.safetensors"
    lora.write_bytes((EXAMPLES.parent / "tests" / "analytic_models" / "tint.safetensors").read_bytes())
    if is_there:
        (server.folder / "lora" / lora.name).write_bytes(b"other")
    job = tmp_path / "job.yaml"
    job.write_text(yaml.safe_dump({"models": "tiny", "prompt": "x", "lora_scales": {str(lora): 1}}))
    code, err = run(str(job))
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (code, len(lines)) == (65, 1)
    assert lora.name in lines[0]
    assert ("another content than yours" if is_there else "no such file under --lora-root") in lines[0]


def test_a_detached_job_is_fetched_by_its_id_from_anywhere(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The job is the one that was submitted, though its file has changed since."""
    job = write(tmp_path / "job.yaml")
    assert main(["submit", job, "--detach", "-o", "out/{job}.npy", "--set", "seed=3"]) == 0
    job_id = capfd.readouterr().out.strip()
    (tmp_path / "job.yaml").write_text("nonsense")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv("SCOPE_BATCH_SERVER")
    assert run("--attach", job_id)[0] == 0
    assert run("--attach", job_id, "-o", "b.npy")[0] == 0
    assert (tmp_path / "out" / "job.npy").read_bytes() == (tmp_path / "elsewhere" / "b.npy").read_bytes()
    assert json.loads((tmp_path / "out" / "job.npy.json").read_text())["job"]["seed"] == 3


def test_attaching_with_another_job_is_refused(run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    job = write(tmp_path / "job.yaml")
    assert main(["submit", job, "--detach"]) == 0
    job_id = capfd.readouterr().out.strip()
    code, err = run(job, "--attach", job_id, "--set", "seed=9")
    assert (code, "is another job than" in err) == (65, True)
    assert run(job, "--attach", job_id)[0] == 0


def start(arguments: list[str], server: Running) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", START, "submit", *arguments, "--server", str(server.http.base_url)]
    return subprocess.Popen([*command, "--token", TOKEN, "--progress", "plain"], stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_cancels_the_job_and_a_closed_terminal_leaves_it(
    server: Running, tmp_path: Path, number: signal.Signals
) -> None:
    process = start([write(tmp_path / "job.yaml", num_frames=ENDLESS), "-o", str(tmp_path / "a.mp4")], server)
    assert process.stderr is not None
    with process.stderr as lines:
        job = next(line for line in lines if "has the job" in line).split()[-1]
        next(line for line in lines if line.startswith("chunk"))
        process.send_signal(number)
        rest = lines.read()
    assert process.wait(PATIENCE_S) == 128 + number
    if number == signal.SIGINT:
        assert "the job is cancelled" in rest
    else:
        assert f"the job goes on: scope-batch submit --attach {job}" in rest
        assert server.http.get(f"/api/v1/jobs/{job}").json()["state"] == "running"
        server.http.post(f"/api/v1/jobs/{job}/cancel")
    while (state := server.http.get(f"/api/v1/jobs/{job}").json()["state"]) == "running":
        pass
    assert state == "cancelled"
    assert [path.name for path in tmp_path.iterdir()] == ["job.yaml"]


def test_it_needs_no_torch(server: Running, tmp_path: Path) -> None:
    code = "import sys; from scope_batch.__main__ import main; code = main(sys.argv[1:]); assert code == 0, code; "
    code += "assert not {'torch', 'diffusers', 'transformers', 'fastapi'} & set(sys.modules)"
    arguments = ["submit", write(tmp_path / "job.yaml"), "-o", str(tmp_path / "a.mp4")]
    arguments += ["--server", str(server.http.base_url), "--token", TOKEN]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_the_package_of_the_extra_the_verb_names_it() -> None:
    code = f"import sys; sys.modules['httpx'] = None; {START}"
    done = subprocess.run(
        [sys.executable, "-c", code, "submit", "x.yaml", "--server", "http://x"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 69
    assert "pip install 'scope-batch[submit]'" in done.stderr
