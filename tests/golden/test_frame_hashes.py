from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from scope_batch.errors import JobError
from scope_batch.golden.frame_hashes import FrameHashes, frame_sha256
from scope_batch.media.ffmpeg import run_quiet
from tests.golden.films import HEIGHT, WIDTH, moving_film


def hashes_of_film(fps: Fraction = Fraction(16)) -> FrameHashes:
    return FrameHashes(tuple(map(frame_sha256, moving_film(4))), fps, HEIGHT, WIDTH)


def test_the_text_is_that_of_ffmpeg(tmp_path: Path) -> None:
    raw = tmp_path / "film.rgb"
    raw.write_bytes(moving_film(4).tobytes())
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", "16", "-i", str(raw)]
    told = run_quiet(["-nostdin", *source, "-f", "framehash", "-hash", "sha256", "-"]).stdout
    own = hashes_of_film().to_text()
    assert [line for line in own.splitlines() if "software" not in line] == [
        line for line in told.splitlines() if "software" not in line
    ]


@pytest.mark.parametrize("fps", [Fraction(16), Fraction(30000, 1001)])
def test_the_text_is_read_back(fps: Fraction) -> None:
    assert FrameHashes.of_text(hashes_of_film(fps).to_text(), "frames.sha256") == hashes_of_film(fps)


@pytest.mark.parametrize(
    ("old", "new"), [("64x48", "64"), ("tb 0", "tb"), ("SHA256", "MD5"), ("0,          2", "0,  7")]
)
def test_another_text_is_refused(old: str, new: str) -> None:
    with pytest.raises(JobError, match=r"frames\.sha256: is no list"):
        FrameHashes.of_text(hashes_of_film().to_text().replace(old, new), "frames.sha256")
