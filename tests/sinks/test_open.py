import shutil
from dataclasses import astuple
from pathlib import Path

import pytest

from scope_batch.checkpoint.store import STORE
from scope_batch.core.file_size import BYTES_PER_PIXEL, forecast
from scope_batch.errors import JobError, OutputError, OutputExistsError
from scope_batch.sinks.disk_space import check_space, forecast_bytes, forecast_chunks_bytes, forecast_latents_bytes
from scope_batch.sinks.encoders import ENCODERS
from scope_batch.sinks.output import Output, parse_outputs
from scope_batch.sinks.output_set import SinkSettings, check_outputs, claim_outputs, open_sinks
from scope_batch.sinks.verify import verify_output


def outputs_in(folder: Path, *names: str) -> tuple[Output, ...]:
    return parse_outputs([str(folder / name) for name in names], [], None, "job")


def test_a_check_writes_nothing(tmp_path: Path, make_plan, names):
    outputs = outputs_in(tmp_path, "new/a.mp4", "a.npy", "p/%05d.png")
    check_outputs(outputs, make_plan(9), SinkSettings(preview=tmp_path / "p.png"))
    assert names() == []


def test_existing_outputs_are_refused_before_anything_is_loaded(tmp_path: Path, make_plan):
    outputs = outputs_in(tmp_path, "a.npy", "%05d.png", "100%.mp4")
    (tmp_path / "00001.png").touch()
    (tmp_path / "100%.mp4").touch()
    with pytest.raises(OutputExistsError, match="1 pictures exist"):
        check_outputs(outputs, make_plan(9), SinkSettings())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SinkSettings(preview=Path("a.npy")), "named twice"),
        (SinkSettings(preview=Path("b.jpg")), r"--preview b\.jpg: unknown extension"),
    ],
)
def test_extras_are_checked_with_the_outputs(make_plan, settings, message):
    with pytest.raises(JobError, match=message):
        check_outputs(outputs_in(Path(), "a.npy"), make_plan(9), settings)


@pytest.mark.parametrize(
    ("output", "extra", "source"),
    [
        ("clip.mp4", {}, "clip.mp4"),
        ("link.mp4", {}, "clip.mp4"),
        ("link/%05d.png", {}, "src"),
        ("a.npy", {}, "a.npy.json"),
        ("a.mp4", {}, "a.partial.mp4"),
        ("%05d.png", {}, "00003.png"),
        ("a.mp4", {"preview": "src/00000.png"}, "src"),
        ("a.mp4", {"latents": "l.safetensors"}, "l.safetensors"),
    ],
)
def test_an_input_is_never_written_over(tmp_path: Path, make_plan, names, output, extra, source):
    (tmp_path / "src").mkdir()
    (tmp_path / "link").symlink_to("src")
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "00003.png").touch()
    (tmp_path / "link.mp4").symlink_to("clip.mp4")
    before = names()
    paths = {key: tmp_path / name for key, name in extra.items()}
    settings = SinkSettings(overwrite=True, inputs=(tmp_path / "other", tmp_path / source), **paths)
    outputs, plan = outputs_in(tmp_path, output), make_plan(9)
    with pytest.raises(JobError, match=rf"would overwrite the input .*{source}"):
        check_outputs(outputs, plan, settings)
    with (
        pytest.raises(JobError, match="input"),
        claim_outputs(outputs, settings) as publication,
        open_sinks(outputs, plan, settings, publication),
    ):
        pass
    assert names() == before


def test_an_output_may_lie_beside_an_input(tmp_path: Path, make_plan):
    (tmp_path / "src").mkdir()
    settings = SinkSettings(inputs=(tmp_path / "src", tmp_path / "clip.mp4"))
    check_outputs(outputs_in(tmp_path, "out.mp4", "out/%05d.png", "%05d.png"), make_plan(9), settings)


def test_each_format_is_verified_anew(tmp_path: Path, render):
    outputs = outputs_in(tmp_path, "a.npy", "a.mp4", "%d.png")
    render(*(str(output.path) for output in outputs), num_frames=3)
    for output in outputs:
        verify_output(output, 3, 64, 96)
        with pytest.raises(OutputError, match=r"expected 4|4 frames"):
            verify_output(output, 4, 64, 96)


def test_the_forecast_is_exact_for_raw_frames(tmp_path: Path, render, make_plan):
    latents = tmp_path / "l.safetensors"
    render(tmp_path / "a.npy", tmp_path / "a.nut", settings=SinkSettings(latents=latents))
    npy, nut = outputs_in(tmp_path, "a.npy", "a.nut")
    assert (tmp_path / "a.npy").stat().st_size == forecast_bytes(npy, make_plan(30))
    assert 0 <= forecast_bytes(nut, make_plan(30)) - (tmp_path / "a.nut").stat().st_size < 100_000
    assert 0 <= forecast_latents_bytes(make_plan(30)) - latents.stat().st_size < 100_000


def test_the_plan_and_the_disk_check_forecast_the_same_sizes(tmp_path: Path, make_plan):
    npy, mp4 = (forecast_bytes(output, make_plan(30)) for output in outputs_in(tmp_path, "a.npy", "a.mp4"))
    assert (npy, mp4) == astuple(forecast(make_plan(30)))


def test_every_encoder_has_a_size():
    assert set(ENCODERS) < set(BYTES_PER_PIXEL)


def test_outputs_on_one_disk_share_its_space(tmp_path: Path, make_plan, monkeypatch):
    outputs = outputs_in(tmp_path, "new/a.npy", "b.npy")
    size = forecast_bytes(outputs[0], make_plan(30))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 2 * size))
    check_space(outputs, make_plan(30))
    with pytest.raises(OutputError, match="--force"):
        check_space(outputs, make_plan(30), tmp_path / "l.safetensors")


def test_the_stored_chunks_need_space_too(tmp_path: Path, make_plan, monkeypatch):
    plan, path = make_plan(30), tmp_path / "a.npy"
    store = tmp_path / ".a.npy.work" / STORE
    wanted = forecast_chunks_bytes(plan, store, latents=False)
    assert wanted == 30 * plan.height * plan.width * 3
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, wanted - 1))
    check_space([], plan)
    with pytest.raises(OutputError, match="needed"):
        check_space([], plan, chunks=path)
    store.mkdir(parents=True)
    (store / "00000.frames").write_bytes(bytes(1000))
    check_space([], plan, chunks=path)  # what is stored already needs no more


def test_small_sizes_are_shown_in_a_small_unit(tmp_path: Path, make_plan, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 37))
    with pytest.raises(OutputError, match=r"about \d+\.\d kB are needed, 37 bytes are free"):
        check_space(outputs_in(tmp_path, "a.npy"), make_plan(30))
