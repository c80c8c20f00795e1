"""Tests of publishing: renders that are killed, run at the same time, or find planted files."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from scope_batch.errors import OutputError, OutputExistsError
from scope_batch.sinks.metadata import read_metadata
from scope_batch.sinks.npy import NpySink
from scope_batch.sinks.output import parse_outputs
from scope_batch.sinks.output_set import SinkSettings, claim_outputs, complete_earlier_render
from scope_batch.sinks.publish import Publication
from scope_batch.sinks.sink import bytes_and_hash
from scope_batch.sinks.work_folder import WorkFolder

JOB_A, JOB_B = (SinkSettings(overwrite=True, metadata=json.dumps({"job": job}), job=job) for job in "AB")


class Killed(KeyboardInterrupt):
    """Ends a render without any of its clean-up, as SIGKILL does."""


@pytest.fixture
def killed_before(monkeypatch):
    """killed_before(name, count): the method `name` of WorkFolder ends the render at its call number `count`."""

    def arm(name: str, count: int = 1) -> None:
        method, calls = getattr(WorkFolder, name), []

        def dying(self, *args):
            calls.append(args)
            if len(calls) == count:
                raise Killed
            return method(self, *args)

        monkeypatch.setattr(WorkFolder, name, dying)
        monkeypatch.setattr(WorkFolder, "remove", lambda self: self.release())

    return arm


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".work"))


@pytest.mark.parametrize(
    ("output", "plant"),
    [
        ("a.npy", "a.npy.part"),
        ("a.npy", "a.npy.json.part"),
        ("a.mp4", "a.mp4.part"),
        ("%03d.png", "003.png.part"),
        ("a.npy", "a.partial.npy"),
        ("%03d.png", "003.partial.png"),
    ],
)
def test_a_planted_link_redirects_nothing(tmp_path: Path, render, output: str, plant: str):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / plant).symlink_to(victim)
    render(tmp_path / output, num_frames=9, settings=SinkSettings(metadata='{"job": 1}'))
    assert victim.read_bytes() == b"mine"
    assert not any(path.is_symlink() for path in tmp_path.iterdir() if path.name != plant)


def test_an_array_and_its_sidecar_are_bound_by_size_and_hash(tmp_path: Path, render):
    render(tmp_path / "a.npy", settings=JOB_A)
    document = read_metadata(tmp_path / "a.npy")
    assert document == {"job": "A", **bytes_and_hash(tmp_path / "a.npy")}
    assert document["bytes"] == (tmp_path / "a.npy").stat().st_size


@pytest.mark.parametrize("calls", [1, 2])
def test_a_kill_between_array_and_sidecar_never_pairs_two_jobs(
    tmp_path: Path, render, killed_before, monkeypatch, calls
):
    render(tmp_path / "a.npy", settings=JOB_A)
    killed_before("move_out", calls)
    with pytest.raises(Killed):
        render(tmp_path / "a.npy", num_frames=9, settings=JOB_B)
    assert "a.npy.json" not in visible(tmp_path)
    monkeypatch.undo()
    assert complete_earlier_render(parse_outputs([str(tmp_path / "a.npy")], [], None, ""), JOB_B)
    assert read_metadata(tmp_path / "a.npy")["job"] == "B" and len(np.load(tmp_path / "a.npy")) == 9


def test_a_killed_replacement_of_a_sequence_is_completed(tmp_path: Path, render, killed_before, monkeypatch):
    pattern = tmp_path / "%d.png"
    render(pattern, num_frames=12, settings=JOB_A)
    killed_before("move_out", 5)
    with pytest.raises(Killed):
        render(pattern, num_frames=9, settings=JOB_B)
    assert {read_metadata(tmp_path / name)["job"] for name in visible(tmp_path)} == {"B"}
    monkeypatch.undo()
    assert complete_earlier_render(parse_outputs([str(pattern)], [], None, ""), JOB_B)
    assert visible(tmp_path) == [f"{index}.png" for index in range(9)]


@pytest.mark.parametrize(("calls", "done"), [(1, False), (2, False), (3, False), (4, True)])
def test_several_outputs_appear_together_or_not_at_all(tmp_path: Path, render, killed_before, monkeypatch, calls, done):
    paths = [str(tmp_path / "a.npy"), str(tmp_path / "b" / "%d.png")]
    killed_before("rename_journal", calls)  # two are prepared, then committed
    with pytest.raises(Killed):
        render(*paths, num_frames=2, settings=JOB_A)
    assert visible(tmp_path) == ["b"] and visible(tmp_path / "b") == []
    monkeypatch.undo()
    assert complete_earlier_render(parse_outputs(paths, [], None, ""), JOB_A) == done
    names = ["0.png", "1.png", "a.npy", "a.npy.json"] if done else []
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == names


@pytest.mark.parametrize(("method", "call"), [("rename_journal", 4), ("move_out", 3), ("sync", 1)])
def test_a_fault_of_the_disk_in_the_middle_is_completed_by_the_next_render(
    tmp_path: Path, render, monkeypatch, method: str, call: int
):
    paths = [str(tmp_path / "a.npy"), str(tmp_path / "b.npy")]
    working, calls = getattr(WorkFolder, method), []

    def failing(self, *args):
        calls.append(args)
        if len(calls) == call:
            raise OSError(errno.EIO, "Input/output error")
        return working(self, *args)

    monkeypatch.setattr(WorkFolder, method, failing)
    with pytest.raises(OutputError, match="Input/output error"):
        render(
            *paths, num_frames=2, settings=SinkSettings(metadata='{"job": "A"}', job="A", preview=tmp_path / "p.png")
        )
    assert not any("partial" in name for name in visible(tmp_path)) and not (tmp_path / ".p.png.work").exists()
    assert complete_earlier_render(parse_outputs(paths, [], None, ""), JOB_A)
    assert visible(tmp_path) == ["a.npy", "a.npy.json", "b.npy", "b.npy.json", "p.png"]


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_render_that_names_only_one_of_several_completes_that_one_and_the_rest_later(
    tmp_path: Path, render, killed_before, monkeypatch, order: str
):
    """Only one of the two was committed, and its journal is removed before the other one is recovered."""
    killed_before("rename_journal", 4)
    with pytest.raises(Killed):
        render(tmp_path / "a.npy", tmp_path / "b.npy", num_frames=2, settings=JOB_A)
    monkeypatch.undo()
    names: list[str] = []
    for name in order:
        assert not complete_earlier_render(parse_outputs([str(tmp_path / f"{name}.npy")], [], None, ""), JOB_A)
        names += [f"{name}.npy", f"{name}.npy.json"]
        assert visible(tmp_path) == sorted(names)


def test_a_file_created_after_the_kill_is_not_replaced(tmp_path: Path, render, killed_before, monkeypatch):
    killed_before("move_out")
    with pytest.raises(Killed):
        render(tmp_path / "a.npy", num_frames=2, settings=JOB_A)
    monkeypatch.undo()
    (tmp_path / "a.npy").write_bytes(b"mine")
    outputs = parse_outputs([str(tmp_path / "a.npy")], [], None, "")
    with pytest.raises(OutputExistsError, match=r"a\.npy: exists"):
        complete_earlier_render(outputs, SinkSettings(metadata='{"job": "A"}', job="A"))
    assert (tmp_path / "a.npy").read_bytes() == b"mine"
    assert complete_earlier_render(outputs, JOB_A)
    assert len(np.load(tmp_path / "a.npy")) == 2


def test_an_output_that_appears_meanwhile_is_not_replaced_and_the_render_not_lost(
    tmp_path: Path, make_frames, names, publish
):
    with pytest.raises(OutputExistsError), publish(NpySink, tmp_path / "a.npy", 1, 64, 96) as sink:
        sink.write(make_frames(1))
        (tmp_path / "a.npy").write_bytes(b"theirs")
    assert (tmp_path / "a.npy").read_bytes() == b"theirs" and names() == ["a.npy", "a.partial.npy"]


def test_one_output_that_cannot_be_published_keeps_the_others_as_partials(tmp_path: Path, render, names):
    def spoil(*_):
        (tmp_path / ".b.npy.work" / "b.npy").unlink(missing_ok=True)

    with pytest.raises(OutputError, match="the file was replaced by another one"):
        render(tmp_path / "a.npy", tmp_path / "b.npy", num_frames=9, between=spoil)
    assert names() == ["a.partial.npy"]


def test_a_journal_that_somebody_planted_replaces_nothing(tmp_path: Path):
    victim = tmp_path / "a.npy"
    victim.write_bytes(b"mine")
    with Publication([victim]) as publication:
        work = publication.work(victim)
        work.write("a.npy", b"planted")
        journal = {"render": "x", "job": "A", "outputs": [], "files": 1, "replaces": {"a.npy": [1, 4, 2]}}
        work.write_journal("committed.journal", json.dumps(journal).encode())
    outputs = parse_outputs([str(victim)], [], None, "")
    with pytest.raises(OutputExistsError):
        complete_earlier_render(outputs, SinkSettings(job="A"))
    assert victim.read_bytes() == b"mine"


def test_a_failed_start_leaves_no_lock(tmp_path: Path, names):
    (tmp_path / "b.npy").mkdir()
    outputs = parse_outputs([str(tmp_path / "a.npy"), str(tmp_path / "b.npy" / "c.npy")], [], None, "")
    (tmp_path / "b.npy" / ".c.npy.work").touch()
    with pytest.raises(OutputError, match="in the way"), claim_outputs(outputs, SinkSettings()):
        pass
    assert names() == ["b.npy"]
