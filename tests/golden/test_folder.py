from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from scope_batch.errors import JobError, MissingInputError
from scope_batch.golden.folder import (
    DEFAULT_THRESHOLDS,
    Blessed,
    label_of,
    labels,
    read_goldens,
    read_thresholds,
    write_blessed,
)
from scope_batch.golden.record import record
from scope_batch.golden.thresholds import Thresholds
from tests.golden.films import moving_film, stream

AVX2 = {"device": "cpu", "CPU kernels": "AVX2", "torch": "2.13"}


def blessed(environment: dict[str, str], frames: int = 40) -> Blessed:
    film = record(stream(moving_film(frames), 16), {0, 20})
    return Blessed(label_of(environment), environment, {"job": {"seed": 1}}, film, "first")


def test_a_golden_is_read_back(tmp_path: Path) -> None:
    made = blessed(AVX2)
    write_blessed(tmp_path, made, replace_all=False)
    (read,) = read_goldens(tmp_path)
    assert (read.label, read.environment, read.made_from, read.note) == (
        made.label,
        AVX2,
        {"job": {"seed": 1}},
        "first",
    )
    assert read.record.frames == made.record.frames and read.record.pictures.keys() == {0, 20}
    assert all(np.array_equal(*pair) for pair in zip(read.record.thumbnails, made.record.thumbnails, strict=True))


def test_goldens_of_several_environments_lie_side_by_side(tmp_path: Path) -> None:
    for environment in (AVX2, {**AVX2, "torch": "2.14"}, AVX2):
        write_blessed(tmp_path, blessed(environment), replace_all=False)
    assert len(labels(tmp_path)) == 2
    write_blessed(tmp_path, blessed(AVX2), replace_all=True)
    assert labels(tmp_path) == [label_of(AVX2)]


def test_the_label_names_the_device() -> None:
    assert label_of(AVX2).startswith("cpu-avx2-")
    assert label_of({"device": "NVIDIA H200"}).startswith("nvidia-h200-")
    assert label_of({**AVX2, "torch": "2.14"}) != label_of(AVX2)


def test_the_file_of_thresholds_holds_the_defaults_and_is_kept(tmp_path: Path) -> None:
    write_blessed(tmp_path, blessed(AVX2), replace_all=False)
    path = tmp_path / "thresholds.yaml"
    assert set(yaml.safe_load(path.read_text())) == {"other_machine", "encoded"}
    assert read_thresholds(tmp_path) == DEFAULT_THRESHOLDS
    path.write_text("encoded: {min_psnr: 20}\n")
    write_blessed(tmp_path, blessed(AVX2), replace_all=True)
    assert read_thresholds(tmp_path) == {**DEFAULT_THRESHOLDS, "encoded": Thresholds(min_psnr=20)}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("exact: {fail: 0.1}", "unknown key 'exact'"),
        ("- 1", "must map"),
        ("encoded: {fial: 1}", "encoded: unknown threshold 'fial'"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_faulty_file_of_thresholds_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "thresholds.yaml").write_text(text)
    with pytest.raises(JobError, match=fault):
        read_thresholds(tmp_path)


def test_a_folder_without_a_golden_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="golden bless makes one"):
        read_goldens(tmp_path)


@pytest.mark.parametrize("name", ["golden.json", "thumbnails.png", "frame-00020.png", "frames.sha256"])
def test_a_damaged_golden_is_refused(tmp_path: Path, name: str) -> None:
    made = blessed(AVX2)
    write_blessed(tmp_path, made, replace_all=False)
    path = tmp_path / made.label / name
    if name == "frame-00020.png":
        Image.fromarray(moving_film(1)[0]).save(path)
    else:
        path.write_bytes(b"{}")
    with pytest.raises(JobError, match=name.removesuffix(".sha256") if "frame" in name else "bless it anew"):
        read_goldens(tmp_path)
