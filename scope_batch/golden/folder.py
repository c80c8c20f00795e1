"""Keeps goldens in a folder: thresholds, and for each machine they were blessed on checksums and some frames."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from scope_batch.checkpoint.provenance import Difference, differences
from scope_batch.errors import JobError, MissingInputError
from scope_batch.files.access import make_folders
from scope_batch.golden.alignment import Reduced
from scope_batch.golden.frame_hashes import FrameHashes, frame_sha256
from scope_batch.golden.record import Record, thumbnail_size
from scope_batch.golden.thresholds import Thresholds, thresholds_of
from scope_batch.golden.verdict import TIERS, Tier
from scope_batch.media.images import read_image
from scope_batch.sinks.output import output_errors

THRESHOLDS, HASHES, FACTS, THUMBNAILS = "thresholds.yaml", "frames.sha256", "golden.json", "thumbnails.png"
COLUMNS = 32
"""Thumbnails in a row of their picture."""
DEFAULT_THRESHOLDS: Mapping[Tier, Thresholds] = {
    "exact": Thresholds(),
    "other_machine": Thresholds(fail=0.008, fail_percent=1, min_psnr=50, min_ssim=0.99),
    "encoded": Thresholds(min_psnr=32, min_ssim=0.95),
}
_THRESHOLDS_TEXT = """\
# On the kind of machine where it was blessed, a render equals the golden bit for bit. These decide elsewhere, for whole
# frames and for the thumbnails of all frames. Names as for scope-batch compare; differences in 0..1.
other_machine: {fail: 0.008, fail_percent: 1, min_psnr: 50, min_ssim: 0.99}
# For a film that an encoder has changed (golden verify --film).
encoded: {min_psnr: 32, min_ssim: 0.95}
"""


@dataclass(frozen=True, slots=True)
class Blessed:
    """A golden of one kind of machine.

    environment  what decides about the last bits there: device, its settings, packages.
    made_from    the metadata of an output of the job: job, defaults, checksums of inputs and models.
    note         why it was blessed.
    """

    label: str
    environment: Mapping[str, str]
    made_from: Mapping[str, Any]
    record: Record
    note: str = ""

    def environment_changes(self, environment: Mapping[str, str]) -> list[Difference]:
        return differences(self.environment, environment)


def label_of(environment: Mapping[str, str]) -> str:
    """Return the folder's name: the device, and a hash of the environment, "cpu-avx512-1f2e3d4c"."""
    device = environment.get("device", "any")
    kind = f"{device}-{environment.get('CPU kernels', '')}" if device == "cpu" else device
    text = json.dumps(sorted(environment.items()))
    return f"{re.sub(r'[^a-z0-9]+', '-', kind.lower()).strip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def write_blessed(folder: Path, blessed: Blessed, *, replace_all: bool) -> None:
    """Write a golden, in place of an earlier one of the same environment. Raises OutputError.

    replace_all  remove the goldens of all other environments.
    """
    with output_errors(folder):
        make_folders(folder)
        if not (folder / THRESHOLDS).exists():
            (folder / THRESHOLDS).write_text(_THRESHOLDS_TEXT, encoding="utf-8")
        for label in labels(folder):
            if replace_all or label == blessed.label:
                shutil.rmtree(folder / label)
        inside = folder / blessed.label
        inside.mkdir()
        (inside / HASHES).write_text(blessed.record.frames.to_text(), encoding="ascii")
        _grid(blessed.record).save(inside / THUMBNAILS)
        for index, frame in blessed.record.pictures.items():
            Image.fromarray(frame).save(inside / _picture_name(index))
        facts = {
            "note": blessed.note,
            "environment": dict(blessed.environment),
            "made_from": dict(blessed.made_from),
        }
        (inside / FACTS).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def labels(folder: Path) -> list[str]:
    """Return the names of the goldens in a folder."""
    if not folder.is_dir():
        return []
    return sorted(inside.name for inside in folder.iterdir() if (inside / HASHES).is_file())


def read_goldens(folder: Path) -> list[Blessed]:
    """Read every golden of a folder. Raises MissingInputError if there is none, JobError if one is damaged."""
    found = labels(folder)
    if not found:
        raise MissingInputError(f"{folder}: no golden; scope-batch golden bless makes one")
    return [_read(folder / label) for label in found]


def read_thresholds(folder: Path) -> dict[Tier, Thresholds]:
    """Read the thresholds of a folder; what it does not set has its default. Raises JobError for a faulty file."""
    path = folder / THRESHOLDS
    thresholds = dict(DEFAULT_THRESHOLDS)
    if not path.is_file():
        return thresholds
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise JobError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    allowed = TIERS[1:]
    if not isinstance(values, dict) or not all(isinstance(part, dict) for part in values.values()):
        raise JobError(f"{path}: must map {' and '.join(allowed)} to thresholds")
    for tier, part in values.items():
        if tier not in allowed:
            raise JobError(f"{path}: unknown key {tier!r}; allowed: {', '.join(allowed)}")
        thresholds[tier] = thresholds_of(part, f"{path}: {tier}")
    return thresholds


def _read(inside: Path) -> Blessed:
    try:
        frames = FrameHashes.of_text((inside / HASHES).read_text(encoding="ascii"), str(inside / HASHES))
        facts = json.loads((inside / FACTS).read_text(encoding="utf-8"))
        thumbnails = _thumbnails(np.asarray(Image.open(inside / THUMBNAILS).convert("RGB")), frames)
        pictures = {int(path.stem.removeprefix("frame-")): read_image(path) for path in inside.glob("frame-*.png")}
        environment = {str(name): str(value) for name, value in facts["environment"].items()}
        made_from, note = dict(facts["made_from"]), str(facts["note"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise JobError(f"{inside}: is no golden that can be read: {error}; bless it anew") from error
    for index, frame in pictures.items():
        if index >= len(frames.hashes) or frame_sha256(frame) != frames.hashes[index]:
            raise JobError(f"{inside / _picture_name(index)}: is not frame {index} of the golden; bless it anew")
    return Blessed(inside.name, environment, made_from, Record(frames, thumbnails, pictures), note)


def _picture_name(index: int) -> str:
    return f"frame-{index:05}.png"


def _grid(record: Record) -> Image.Image:
    width, height = thumbnail_size(record.frames.height, record.frames.width)
    rows = -(-record.count // COLUMNS)
    grid = np.zeros((rows * height, min(record.count, COLUMNS) * width, 3), np.uint8)
    for index, thumbnail in enumerate(record.thumbnails):
        grid[_cell(index, width, height)] = thumbnail
    return Image.fromarray(grid)


def _thumbnails(grid: Reduced, frames: FrameHashes) -> tuple[Reduced, ...]:
    width, height = thumbnail_size(frames.height, frames.width)
    count = len(frames.hashes)
    rows, columns = -(-count // COLUMNS), min(count, COLUMNS)
    if grid.shape != (rows * height, columns * width, 3):
        raise ValueError(f"{THUMBNAILS} does not hold {count} thumbnails")
    return tuple(grid[_cell(index, width, height)] for index in range(count))


def _cell(index: int, width: int, height: int) -> tuple[slice, slice]:
    row, column = divmod(index, COLUMNS)
    return slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width)
