import os
import struct
from pathlib import Path

import numpy as np
import pytest

from scope_batch.errors import JobError
from scope_batch.media.open import open_source
from tests.media.conftest import random_frames


def bin_file(path: Path, frames: np.ndarray, header: tuple[int, ...] | None = None) -> Path:
    path.write_bytes(struct.pack("<5I", *(header or (4, *frames.shape))) + frames.tobytes())
    return path


def npy_file(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(JobError) as caught, open_source(path):
        pass
    assert "\n" not in str(caught.value) and str(caught.value).startswith(path.name)
    return str(caught.value)


@pytest.mark.parametrize("make", [npy_file, bin_file])
def test_frames_come_as_they_are_in_any_order(tmp_path, make):
    frames = random_frames(5)
    with open_source(make(tmp_path / f"a.{make.__name__[:3]}", frames)) as source:
        assert (source.frames, source.height, source.width, source.timing.fps) == (5, 48, 64, 16)
        for i in (0, 4, 2, 2):
            np.testing.assert_array_equal(source.frame(i), frames[i])


@pytest.mark.parametrize("make", [npy_file, bin_file])
def test_a_file_that_is_too_short_or_too_long_is_refused(tmp_path, make):
    path = make(tmp_path / f"a.{make.__name__[:3]}", random_frames(5))
    with path.open("ab") as file:
        file.write(b"xy")
    assert "2 bytes follow the 5 frames" in refusal(path)
    os.truncate(path, path.stat().st_size - 3)
    assert "holds 4 of the 5 frames" in refusal(path)
    os.truncate(path, 15)
    refusal(path)


def test_a_file_that_shrinks_while_it_is_read_is_an_error_not_a_crash(tmp_path):
    path = npy_file(tmp_path / "a.npy", random_frames(5))
    with open_source(path) as source:
        os.truncate(path, 4096)
        with pytest.raises(JobError, match=r"a.npy: frame 3 of 5 is missing"):
            source.frame(3)


class Bomb:
    def __reduce__(self):
        return (os.abort, ())


@pytest.mark.parametrize(
    ("array", "message"),
    [(np.array([Bomb()], dtype=object), "Python objects"), (np.zeros((2, 4, 4, 3), np.float32), "float32 is not uint8"),
     (np.asfortranarray(random_frames(2)), "Fortran order"), (np.zeros((2, 4, 4, 4), np.uint8), "[2, 4, 4, 4] is not"),
     (np.zeros((4, 4, 3), np.uint8), "is not [T, H, W, 3]"), (np.zeros((0, 4, 4, 3), np.uint8), "at least one frame"),
     (np.zeros(2, [("ω", np.uint8)]), "version 3.0 is not supported")],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Stored array in format 3.0")
def test_an_npy_of_another_kind_is_refused_and_never_unpickled(tmp_path, array, message):
    assert message in refusal(npy_file(tmp_path / "a.npy", array))


def npy_start(header: bytes) -> bytes:
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header


def test_the_long_integers_of_python_2_are_read_without_a_word(tmp_path):
    frames = random_frames(2)
    header = str({"descr": "|u1", "fortran_order": False, "shape": frames.shape}).replace("(2,", "(2L,").encode()
    (tmp_path / "a.npy").write_bytes(npy_start(header + b" " * 10 + b"\n") + frames.tobytes())
    with open_source(tmp_path / "a.npy") as source:
        np.testing.assert_array_equal(source.frame(1), frames[1])


@pytest.mark.parametrize(
    "data",
    [b"", b"\x93NUMPY", b"PK\3\4", npy_start(b"{'descr': __x__}"), npy_start(b"{'descr': '|u1', 'shape': (9"),
     npy_start(b"(" * 9000), npy_start(b"{'descr': " + b"-" * 9000 + b"1}"), npy_start(b"{'descr': 1, []: 2}")],
)  # fmt: skip
def test_a_file_that_is_not_npy_is_refused(tmp_path, data):
    (tmp_path / "a.npy").write_bytes(data)
    assert "is not a readable .npy" in refusal(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("header", "message"),
    [((3, 2, 4, 4, 3), "3 dimensions, not 4"), ((4, 2, 4, 4, 4), "is not [T, H, W, 3]"),
     ((4, 9, 4, 4, 3), "2 of the 9"),
     ((4, 2**32 - 1, 2**32 - 1, 2**32 - 1, 3), "holds 0 of")],
)  # fmt: skip
def test_a_bin_header_that_does_not_fit_is_refused(tmp_path, header, message):
    assert message in refusal(bin_file(tmp_path / "a.bin", random_frames(2, 4, 4), header))


def test_frames_of_a_size_that_nobody_means_are_refused_unread(tmp_path):
    (tmp_path / "a.bin").write_bytes(struct.pack("<5I", 4, 1, 9000, 9000, 3))
    os.truncate(tmp_path / "a.bin", 20 + 9000 * 9000 * 3)
    assert "frames of 9000x9000 are too large" in refusal(tmp_path / "a.bin")
