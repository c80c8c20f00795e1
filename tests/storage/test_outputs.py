"""Renders whose outputs go to S3."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scope_batch.__main__ import main
from scope_batch.errors import OutputError, OutputExistsError, ScopeBatchError, TemporaryError, UsageError
from scope_batch.events import Event, Finished, silent
from scope_batch.files.cache import cache_path
from scope_batch.files.urls import making_path
from scope_batch.job import load_job
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from scope_batch.storage import upload as uploads
from scope_batch.submit.run import prepare_remote_job
from tests.storage.cutting_proxy import CuttingProxy
from tests.storage.storages import S3, files_below

SMALL = {"pipeline_id": "slate", "prompt": "a cat", "height": 64, "width": 64, "num_frames": 9}
LARGE = SMALL | {"height": 256, "width": 256, "num_frames": 57}
"""11.2 MB of frames, which are three parts of a multipart upload."""


def render(*outputs: str, events: list[Event] | None = None, options: Any = None, **fields: Any) -> Finished:
    job = load_job(json.dumps(SMALL | fields))
    return render_job(
        job,
        options=RenderOptions(outputs=outputs, **(options or {})),
        report=[].append if events is None else events.append,
    )


def local_files() -> set[str]:
    return files_below(cache_path("to-upload"))


@pytest.fixture
def local(tmp_path: Path) -> Callable[..., dict[str, bytes]]:
    """Return the files of a local render of the same job, by name."""

    def files(pattern: str, **fields: Any) -> dict[str, bytes]:
        render(str(tmp_path / "local" / pattern), **fields)
        return {file.name: file.read_bytes() for file in (tmp_path / "local").iterdir()}

    return files


@pytest.mark.parametrize("pattern", ["out.npy", "out.mkv", "out.nut", "%05d.png"])
def test_s3_gets_the_bytes_of_a_local_render(s3: S3, local: Callable[..., dict[str, bytes]], pattern: str) -> None:
    finished = render(s3.url(f"films/{pattern}"))
    assert {name: s3.get(name) for name in s3.names()} == {f"films/{n}": data for n, data in local(pattern).items()}
    assert [file.path for file in finished.outputs] == [s3.url(f"films/{pattern}")] and finished.outputs[0].bytes > 0
    assert local_files() == set()


def test_a_second_run_is_up_to_date(s3: S3) -> None:
    assert render(s3.url("out.npy")).outcome == "done"
    events: list[Event] = []
    assert render(s3.url("out.npy"), events=events).outcome == "skipped"
    assert [event.kind for event in events] == ["finished"]


def test_another_machine_compares_what_is_there(s3: S3, tmp_path: Path) -> None:
    render(s3.url("out.npy"))
    s3.patch.setenv("SCOPE_BATCH_CACHE", str(tmp_path / "cache"))
    assert render(s3.url("out.npy")).outcome == "skipped"
    assert local_files() == set()
    with pytest.raises(OutputExistsError, match=r"^s3://films/out\.npy: exists; .*made from another job: prompt"):
        render(s3.url("out.npy"), prompt="a dog")


def test_another_job_replaces_an_output_only_with_overwrite(s3: S3) -> None:
    render(s3.url("out.npy"))
    before = s3.get("out.npy")
    with pytest.raises(OutputExistsError, match=r"^s3://films/out\.npy: exists; .*--overwrite; .*another job: prompt"):
        render(s3.url("out.npy"), prompt="a dog")
    assert s3.get("out.npy") == before
    assert render(s3.url("out.npy"), prompt="a dog", options={"overwrite": True}).outcome == "done"
    assert s3.get("out.npy") != before


def test_what_was_fetched_to_be_compared_does_not_stay(s3: S3) -> None:
    s3.put("out.npy", b"mine")
    for data in (b"mine", b"mine, changed"):
        s3.put("out.npy", data)
        with pytest.raises(OutputExistsError, match=r"^s3://films/out\.npy: exists; replace it"):
            render(s3.url("out.npy"))
        assert local_files() == set()


def test_a_copy_that_a_killed_run_left_is_no_result(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.put("out.mkv", b"mine")
    with monkeypatch.context() as patch:
        patch.setattr("scope_batch.render.stored_outputs.StoredOutputs._drop_copies", lambda *_: None)
        with pytest.raises(OutputExistsError):
            render(s3.url("out.mkv"))
    assert "s3/films/out.mkv" in local_files()
    s3.client.rm_file(s3.url("out.mkv"))
    assert render(s3.url("out.mkv")).outcome == "done"


def test_submit_refuses_a_url(tmp_path: Path) -> None:
    job = load_job(json.dumps(SMALL | {"output": "s3://films/out.mp4"}))
    with pytest.raises(UsageError, match=r"^output s3://films/out\.mp4: submit writes its outputs on this machine"):
        prepare_remote_job(job, "job", RenderOptions(work_dir=tmp_path), silent)


@pytest.mark.parametrize("option", ["--latents", "--preview", "--work-dir", "--reuse", "--depfile", "--ledger"])
def test_other_options_refuse_a_url(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "job.yaml", option, "s3://films/a"]) == 2
    assert "'s3://films/a' is a URL; a path on this machine is needed" in capsys.readouterr().err


def test_an_object_that_no_render_made_is_kept(s3: S3) -> None:
    s3.put("out.npy", b"mine")
    with pytest.raises(OutputExistsError, match=r"^s3://films/out\.npy: exists"):
        render(s3.url("out.npy"))
    assert s3.get("out.npy") == b"mine"


def test_of_a_longer_sequence_only_pictures_of_a_render_are_removed(s3: S3) -> None:
    s3.put("00050.png", b"mine")
    with pytest.raises(OutputExistsError, match=r"^s3://films/%05d\.png: exists"):
        render(s3.url("%05d.png"))
    for frames in (9, 4):
        render(s3.url("%05d.png"), num_frames=frames, options={"overwrite": True})
    assert s3.names() == {*(f"{number:05d}.png" for number in range(4)), "00050.png"}


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PART_BYTES", 5 * 2**20)


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("overwrite", [False, True])
def test_after_a_cut_in_the_middle_the_same_command_only_uploads(
    s3: S3, proxy: CuttingProxy, local: Callable[..., dict[str, bytes]], overwrite: bool
) -> None:
    if overwrite:
        s3.put("out.npy", b"earlier")
    proxy.cut_after = proxy.sent + 7 * 2**20
    with pytest.raises(OutputError, match=r"^s3://films/out\.npy: cannot be written: .* only uploads it$") as caught:
        render(s3.url("out.npy"), options={"overwrite": overwrite}, **LARGE)
    assert (caught.value.exit_code, "out.npy" in s3.names()) == (74, overwrite)
    assert not overwrite or s3.get("out.npy") == b"earlier"
    assert "s3/films/out.npy" in local_files()
    s3.reached_at(s3.endpoint)
    assert render(s3.url("out.npy"), options={"overwrite": overwrite}, **LARGE).outcome == "skipped"
    assert {name: s3.get(name) for name in s3.names()} == local("out.npy", **LARGE)
    assert (s3.unfinished(), local_files()) == (0, set())


def test_a_run_that_was_killed_behind_its_upload_is_up_to_date(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*arguments: Any, **options: Any) -> None:
        uploads.upload(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("scope_batch.render.stored_outputs.upload", killed)
        with pytest.raises(KeyboardInterrupt):
            render(s3.url("out.mkv"))
    assert s3.names() == {"out.mkv"} and local_files() == {"s3/films/out.mkv"}
    assert render(s3.url("out.mkv")).outcome == "skipped"
    assert local_files() == set()


def test_a_result_that_waits_is_not_uploaded_over_another_object(s3: S3, proxy: CuttingProxy) -> None:
    proxy.cut_after = proxy.sent + 20_000
    with pytest.raises(OutputError):
        render(s3.url("out.npy"))
    s3.reached_at(s3.endpoint)
    s3.put("out.npy", b"another")
    with pytest.raises(OutputExistsError, match=r"differs from the finished result that waits .* --overwrite uploads"):
        render(s3.url("out.npy"))
    assert s3.get("out.npy") == b"another"
    render(s3.url("out.npy"), options={"overwrite": True})
    assert len(s3.get("out.npy")) > 9 * 64 * 64 * 3


def test_a_bucket_that_does_not_exist_is_told_before_the_render(s3: S3) -> None:
    events: list[Event] = []
    with pytest.raises(OutputError, match=r"^s3://nobody/out\.npy: cannot be written: no such bucket"):
        render("s3://nobody/out.npy", events=events)
    assert "started" not in [event.kind for event in events]
    assert s3.names() == set()


def test_the_work_folder_may_lie_elsewhere(s3: S3, tmp_path: Path) -> None:
    class Stop:
        calls = 0

        def check(self) -> None:
            self.calls += 1
            if self.calls > 2:
                raise TemporaryError("stopped")

    options = RenderOptions(outputs=(s3.url("out.npy"),), work_dir=tmp_path / "work", resume=True)
    job = load_job(json.dumps(SMALL | {"num_frames": 33}))
    with pytest.raises(TemporaryError, match="stopped"):
        render_job(job, options=options, stop=Stop())
    assert any(name.endswith("chunks.jsonl") for name in files_below(tmp_path / "work"))
    events: list[Event] = []
    render_job(job, options=options, report=events.append)
    assert "resumed" in [event.kind for event in events]
    assert (s3.names(), files_below(tmp_path / "work")) == ({"out.npy", "out.npy.json"}, set())


def test_local_and_stored_outputs_of_one_job_are_the_same(s3: S3, tmp_path: Path) -> None:
    render(str(tmp_path / "out.npy"), s3.url("out.npy"))
    assert (tmp_path / "out.npy").read_bytes() == s3.get("out.npy")
    assert render(str(tmp_path / "out.npy"), s3.url("out.npy")).outcome == "skipped"


def test_two_processes_do_not_make_one_output(s3: S3) -> None:
    from filelock import FileLock

    path = making_path(s3.url("out.npy"))
    path.parent.mkdir(parents=True)
    with (
        FileLock(path.with_name(".out.npy.lock")),
        pytest.raises(TemporaryError, match=r"^s3://films/out\.npy: another process is making it"),
    ):
        render(s3.url("out.npy"))


def test_metadata_hold_no_url(s3: S3) -> None:
    render(output=s3.url("secret-folder/out.npy"))
    assert b"secret-folder" not in s3.get("secret-folder/out.npy.json")


@pytest.mark.usefixtures("no_s3fs")
def test_a_missing_package_is_told_before_the_render(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCOPE_BATCH_CACHE", str(tmp_path / "cache"))
    Path("job.yaml").write_text(json.dumps(SMALL))
    assert main(["render", "job.yaml", "-o", "s3://films/out.npy"]) == 69
    assert "error: s3:// needs the package s3fs; pip install 'scope-batch[s3]' installs it" in capsys.readouterr().err


def test_a_password_in_an_output_is_not_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("job.yaml").write_text(json.dumps(SMALL))
    for output in ("s3://me:hunter2@films/out.npy", "s3://me:hunter2@films/{x}.npy", "s3://films/a.npy?sign=hunter2"):
        assert main(["render", "job.yaml", "-o", output]) in (2, 65)
    assert "hunter2" not in "".join(capsys.readouterr())


def test_errors_are_errors_of_the_package(s3: S3) -> None:
    with pytest.raises(ScopeBatchError, match=r"^output s3://films/out\.xyz: unknown extension"):
        render(s3.url("out.xyz"))


def test_a_ledger_names_the_url(s3: S3, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(json.dumps(SMALL | {"output": s3.url("out.npy")}))
    assert main(["render", str(tmp_path / "job.yaml"), "--ledger", str(tmp_path / "ledger"), "-q"]) == 0
    [line] = (tmp_path / "ledger" / "jobs.jsonl").read_text().splitlines()
    assert json.loads(line)["outputs"] == [s3.url("out.npy")]


def test_jobs_of_a_sweep_have_urls_of_their_own(s3: S3, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(json.dumps(SMALL | {"output": s3.url("out.mkv"), "sweep": {"seed": [1, 1001]}}))
    sheet = tmp_path / "sheet.png"
    assert main(["render", str(tmp_path / "job.yaml"), "--sheet", str(sheet), "-q"]) == 0
    assert s3.names() == {"out-1.mkv", "out-1001.mkv"} and sheet.is_file()


def test_endings_have_urls_of_their_own(s3: S3, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(json.dumps(SMALL | {"num_frames": 21}))
    changes = ["--set", "text=a dog", "--set", "text=a bird", "-q"]
    output = s3.url("{ending}.mkv")
    assert main(["branch", str(tmp_path / "job.yaml"), "--at", "9", *changes, "-o", output]) == 0
    assert (s3.names(), local_files()) == ({"1.mkv", "2.mkv"}, set())
