"""Tests the checks of versions, devices, attention, ffmpeg, plugins and disks."""

from __future__ import annotations

import shutil
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import scope_batch.core.registry
from scope_batch.doctor import attention, devices, disks, plugins, versions, video_encoders
from scope_batch.doctor.finding import Finding, first_line
from scope_batch.errors import JobError, UnavailableError


def test_versions_of_an_installed_package_fit() -> None:
    findings = list(versions.check())
    assert {finding.state for finding in findings} == {"ok"}
    named = {name for finding in findings for name in finding.values}
    assert {"python", "torch", "diffusers", "transformers", "peft"} <= named


@pytest.mark.parametrize(("version", "state"), [("2.9.1", "fault"), ("2.13.0+cpu", "ok"), ("3.0", "fault")])
def test_a_version_out_of_range_is_a_fault_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, version: str, state: str
) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: ["torch<2.14,>=2.10", "pytest>=99; extra == 'dev'"])
    monkeypatch.setattr(metadata, "version", lambda _: version)
    _, finding = versions.check()
    assert finding.state == state and (state == "ok") == (finding.advice == "")
    assert state == "ok" or "pip install 'torch<2.14,>=2.10'" in finding.advice


def test_a_package_that_is_missing_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: ["no-such-package>=1"])
    assert [finding.state for finding in versions.check()] == ["ok", "fault"]


@pytest.mark.parametrize(
    ("version", "state", "words"),
    [("0.18", "ok", "torchao 0.18"), ("0.1", "warn", "does not fit"), (None, "ok", "`quantization` is not available")],
)
def test_a_package_that_only_quantization_needs_is_never_a_fault(
    monkeypatch: pytest.MonkeyPatch, version: str | None, state: str, words: str
) -> None:
    def version_of(_: str) -> str:
        if version is None:
            raise metadata.PackageNotFoundError
        return version

    monkeypatch.setattr(metadata, "requires", lambda _: ["torchao>=0.18; extra == 'fp8'"])
    monkeypatch.setattr(metadata, "version", version_of)
    _, finding = versions.check()
    assert finding.state == state and words in finding.text


def test_a_source_tree_that_is_not_installed_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(_: str) -> None:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", requires)
    assert [finding.state for finding in versions.check()] == ["ok", "warn"]


def test_without_a_gpu_the_cpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    host, none = devices.check()
    assert host.state == "ok" and host.values["cores"] >= 1 and host.values["memory_bytes"] > 1 << 28
    assert none.state == "warn" and none.advice


def gpu(monkeypatch: pytest.MonkeyPatch, major: int, minor: int) -> Finding:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    facts = SimpleNamespace(name="Card", major=major, minor=minor)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: facts)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (major, minor))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1 << 30, 2 << 30))
    return list(devices.check())[-1]


@pytest.mark.parametrize(
    ("capability", "state", "words"), [((7, 5), "warn", "no bfloat16"), ((8, 0), "ok", "no fp8"), ((9, 0), "ok", "9.0")]
)
def test_a_gpu_is_named_with_its_capabilities(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], state: str, words: str
) -> None:
    monkeypatch.setattr(devices, "_compute", lambda _: None)
    finding = gpu(monkeypatch, *capability)
    assert finding.state == state and words in finding.text and "2.0 GiB, 1.0 GiB free" in finding.text
    assert ("they need compute capability 8.0" in finding.text) == (capability < (8, 0))


def test_a_gpu_that_does_not_compute_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: torch.device) -> None:
        raise RuntimeError("no kernel image is available\nlong story")

    monkeypatch.setattr(devices, "_compute", fail)
    finding = gpu(monkeypatch, 9, 0)
    assert finding.state == "fault" and finding.text.endswith("no kernel image is available")


def test_the_check_of_a_device_runs_on_the_cpu() -> None:
    devices._compute(torch.device("cpu"))


def test_attention_kernels_that_run_are_named() -> None:
    (finding,) = attention.check()
    assert finding.state == "ok" and {"native", "_native_math"} <= set(finding.values["runs"])
    if finding.values["device"] == "cpu":
        assert "_native_cudnn" in finding.values["fails"]


@pytest.mark.parametrize("bad", ["wrong", "raises"])
def test_a_kernel_that_is_wrong_does_not_run(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    def dispatch(*query_key_value: torch.Tensor, **_: object) -> torch.Tensor:
        if bad == "raises":
            raise RuntimeError("no such kernel")
        return query_key_value[2]

    monkeypatch.setattr(attention, "dispatch_attention_fn", dispatch)
    (finding,) = attention.check()
    assert finding.state == "fault" and finding.values["runs"] == []
    assert ("no such kernel" if bad == "raises" else "off by") in finding.text


def test_ffmpeg_and_its_encoders_work() -> None:
    ffmpeg, working = video_encoders.check()
    assert ffmpeg.values["version"].startswith("ffmpeg version")
    assert working.values["works"] == ["libx264", "libx265", "libvpx-vp9", "ffv1", "rawvideo"]


@pytest.mark.parametrize(("codec", "state"), [("libx264", "fault"), ("libx265", "warn")])
def test_an_encoder_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, codec: str, state: str) -> None:
    def try_encoder(video: object) -> None:
        if video.options.codec == codec:  # type: ignore[attr-defined]
            raise JobError("Unknown encoder")

    monkeypatch.setattr(video_encoders, "try_encoder", try_encoder)
    _, working, bad = video_encoders.check()
    assert codec not in working.values["works"]
    assert bad.state == state and f"{codec} does not work: Unknown encoder" in bad.text
    assert ("for mp4, mov, mkv" in bad.advice) == (state == "fault")


def test_no_ffmpeg_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise UnavailableError("no ffmpeg found")

    monkeypatch.setattr(video_encoders, "ffmpeg_exe", none)
    (finding,) = video_encoders.check()
    assert finding.state == "fault" and "IMAGEIO_FFMPEG_EXE" in finding.advice


def test_something_else_named_ffmpeg_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_encoders, "run_quiet", lambda _: SimpleNamespace(stdout="hello\n"))
    (finding,) = video_encoders.check()
    assert finding.state == "fault"


def test_plugins_are_named_and_a_broken_one_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(plugins.check()) == []
    gray = EntryPoint("gray2", "scope_batch.processors.builtin:GRAY", "scope_batch.processors")
    monkeypatch.setattr(
        scope_batch.core.registry, "entry_points_of", lambda group: {"gray2": (gray,)} if group == gray.group else {}
    )
    (finding,) = plugins.check()
    assert finding.state == "fault" and "its id is 'gray'" in finding.text and finding.values["id"] == "gray2"
    monkeypatch.setattr(scope_batch.core.registry.Registry, "get", lambda *_: None)
    (finding,) = plugins.check()
    assert finding.state == "ok" and "the processor 'gray2'" in finding.text


def test_a_disk_is_measured_and_no_file_is_left(tmp_path: Path) -> None:
    finding = disks.disk(tmp_path, size_bytes=1 << 20)
    assert finding.state in ("ok", "warn") and finding.values["mb_per_s"] > 0 and finding.values["free_bytes"] > 0
    assert not list(tmp_path.iterdir())


def test_slow_and_full_disks_are_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "SLOW_MB_PER_S", 1e9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=disks.SMALL_BYTES))
    assert disks.disk(tmp_path, 1000).advice.startswith("write .npy and .nut to another disk")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5_000_000))
    finding = disks.disk(tmp_path, 1000)
    assert finding.state == "warn" and finding.advice.startswith("free some space") and disks.cache().state == "warn"


def test_folders_that_cannot_be_written_are_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disks.disk(tmp_path / "gone").state == "fault"
    (tmp_path / "file").touch()
    monkeypatch.setenv("SCOPE_BATCH_CACHE", str(tmp_path / "file"))
    finding = disks.cache()
    assert finding.state == "fault" and "SCOPE_BATCH_CACHE" in finding.advice


def test_the_first_line_of_an_error() -> None:
    assert first_line(RuntimeError("\n a \n b")) == "a" and first_line(ValueError()) == "ValueError"
