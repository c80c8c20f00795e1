"""The wheel has the code and all files that it reads, and nothing else."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]


def test_the_wheel_has_the_package_with_its_weights_and_is_smaller_than_ten_megabytes(tmp_path: Path) -> None:
    [built] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with ZipFile(built) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    package = [path for path in (ROOT / "scope_batch").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert names == {path.relative_to(ROOT).as_posix() for path in package}
    assert "scope_batch/models/tiny/weights/wan.safetensors" in names
    assert Path(built).stat().st_size < 10_000_000
