import json
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from scope_batch.core.timeline import BlobPart, ClipSource, ClipSourceFacts, Kind
from scope_batch.errors import JobError, MissingInputError
from scope_batch.media.chunk_inputs import open_inputs
from scope_batch.media.validate import probe_material
from tests.media.conftest import random_frames, write_lossless
from tests.media.plans import SIZE, chunk_of, floats, place, plan_of, saved


def facts_of(path: Path, kind: Kind = "control", part: BlobPart | None = None) -> ClipSourceFacts:
    return probe_material(ClipSource(kind, path, part))


def refusal(path: Path, kind: Kind = "control", part: BlobPart | None = None) -> str:
    with pytest.raises(JobError) as caught:
        facts_of(path, kind, part)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(path.name)
    return str(caught.value)


def blob(path: Path, *arrays: np.ndarray) -> tuple[Path, list[BlobPart]]:
    """The arrays one after another, the first at byte 5."""
    parts, data = [], b"-----"
    for array in arrays:
        parts.append(BlobPart(len(data), array.shape))
        data += array.tobytes()
    path.write_bytes(data)
    return path, parts


def tensors(path: Path, **arrays: np.ndarray) -> Path:
    save_file(arrays, path)
    return path


def header(path: Path, table: object, data: bytes = b"", length: int | None = None) -> Path:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def test_arrays_are_exact_and_everything_else_is_a_video(tmp_path):
    a, video = floats(7), random_frames(5)
    assert facts_of(saved(tmp_path / "a.npy", a)) == ClipSourceFacts(7, SIZE, SIZE, exact=True)
    assert facts_of(tensors(tmp_path / "a.safetensors", frames=a)) == ClipSourceFacts(7, SIZE, SIZE, exact=True)
    assert facts_of(saved(tmp_path / "v.npy", video)) == ClipSourceFacts(5, 48, 64, exact=False)
    assert facts_of(write_lossless(tmp_path / "v.mkv", video), "masks") == ClipSourceFacts(5, 48, 64, exact=False)
    Image.fromarray(video[0]).save(tmp_path / "v.png")
    assert facts_of(tmp_path / "v.png") == ClipSourceFacts(1, 48, 64, exact=False, still=True)
    path, (part, clip) = blob(tmp_path / "b.bin", a, video)
    assert facts_of(path, part=part) == ClipSourceFacts(7, SIZE, SIZE, exact=True)
    assert facts_of(path, "video", clip) == ClipSourceFacts(5, 48, 64, exact=False)


def test_other_tensors_of_the_file_are_named(tmp_path):
    path = tensors(tmp_path / "a.safetensors", frames=floats(7), masks=floats(7, 1), x=np.zeros(3))
    assert set(facts_of(path).unread) == {"masks", "x"} and set(facts_of(path, "masks").unread) == {"frames", "x"}


def test_the_same_values_in_any_file_are_the_same_inputs_bit_for_bit(tmp_path):
    a, m, v = floats(12), floats(12, 1), random_frames(12, SIZE, SIZE)
    path, parts = blob(tmp_path / "b.blob", a, m, v)
    both = tensors(tmp_path / "t.safetensors", frames=a, other=np.zeros(3), masks=m)
    npys = [saved(tmp_path / f"{name}.npy", array) for name, array in (("a", a), ("m", m), ("v", v))]
    kinds: tuple[Kind, ...] = ("control", "masks", "video")
    ways = (
        [place(npy, kind) for npy, kind in zip(npys, kinds, strict=True)],
        [place(path, kind, part=part) for kind, part in zip(kinds, parts, strict=True)],
        [place(both, "control"), place(both, "masks"), place(npys[2], "video")],
    )
    chunks = []
    for placements in ways:
        with open_inputs(plan_of(chunk_of(12, mode="video"), placements=tuple(placements))) as inputs:
            chunks.append(inputs.get())
    for other in chunks:
        np.testing.assert_array_equal(other.control.frames, np.moveaxis(a[0], 0, -1))
        np.testing.assert_array_equal(other.control.masks, m[0, 0])
        np.testing.assert_array_equal(other.pixels, v)


def test_half_precision_is_read_exactly(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_tensors

    a = floats(12)
    half = torch.from_numpy(a).bfloat16()
    save_tensors({"frames": half}, tmp_path / "b.safetensors")
    ways = [(tmp_path / "b.safetensors", half.float().numpy()),
            (saved(tmp_path / "h.npy", a.astype(np.float16)), a.astype(np.float16)),
            (tensors(tmp_path / "h.safetensors", frames=a.astype(np.float16)), a.astype(np.float16))]  # fmt: skip
    for path, expected in ways:
        with open_inputs(plan_of(chunk_of(12), placements=(place(path),))) as inputs:
            np.testing.assert_array_equal(inputs.get().control.frames, np.moveaxis(expected[0], 0, -1))


BAD_ARRAYS = [
    ("control", np.zeros((1, 4, 2, 8, 8), np.float32), "have 3 channels or 1, these have 4"),
    ("control", np.zeros((3, 2, 8, 8), np.float32), "shape [3, 2, 8, 8] is not allowed; control frames are float32"),
    ("control", np.zeros((2, 3, 2, 8, 8), np.float32), "shape [2, 3, 2, 8, 8] is not allowed"),
    ("control", np.zeros((1, 3, 0, 8, 8), np.float32), "shape [1, 3, 0, 8, 8] is not allowed"),
    ("control", np.zeros((1, 3, 2, 8, 8)), "dtype float64 is not allowed; control frames are float32 or float16"),
    ("control", np.zeros((1, 3, 2, 8, 8), ">f4"), "dtype float32 (big-endian) is not allowed"),
    ("control", np.zeros((2, 8, 8, 4), np.uint8), "shape [2, 8, 8, 4] is not [T, H, W, 3]"),
    ("masks", np.zeros((1, 3, 2, 8, 8), np.float32), "a mask has 1 channel, this one has 3: shape [1, 3, 2, 8, 8]"),
    ("masks", np.zeros((1, 1, 2, 8, 8), np.int64), "dtype int64 is not allowed; masks are float32 or float16 [1, 1,"),
    ("masks", np.zeros((1, 1, 2, 8, 8), bool), "dtype bool is not allowed"),
    ("masks", np.asfortranarray(np.zeros((1, 1, 2, 8, 8), np.float32)), "is in Fortran order"),
    ("masks", np.array([print], dtype=object), "holds Python objects, which are never loaded"),
    ("video", np.zeros((1, 3, 2, 8, 8), np.float32), "dtype float32 is not uint8"),
]


@pytest.mark.parametrize(("kind", "array", "message"), BAD_ARRAYS)
def test_an_array_of_another_kind_is_refused(tmp_path, kind, array, message):
    assert message in refusal(saved(tmp_path / "a.npy", array), kind)


@pytest.mark.parametrize(
    ("offset", "shape", "message"),
    [(-4, (1, 3, 1, 8, 8), "offset -4 is negative"),
     (0, (1, 3, -2, 8, 8), "shape [1, 3, -2, 8, 8] is not allowed"),
     (4, (1, 3, 1, 8, 8), "has 771 bytes, too few: 768 bytes from byte 4 on for shape [1, 3, 1, 8, 8]"),
     (10**30, (1, 3, 1, 8, 8), "too few"),
     (0, (1, 3, 2**60, 1, 1), "too few"),
     (0, (1, 3, 1, 2**40, 2**40), "too few"),
     (0, (3, 1, 8, 8), "shape [3, 1, 8, 8] is not allowed")],
)  # fmt: skip
def test_a_part_that_does_not_lie_in_its_blob_is_refused(tmp_path, offset, shape, message):
    (tmp_path / "data").write_bytes(bytes(771))
    assert facts_of(tmp_path / "data", part=BlobPart(3, (1, 3, 1, 8, 8))).frames == 1
    assert message in refusal(tmp_path / "data", part=BlobPart(offset, shape))


def entry(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


GOOD = entry(0, 768, [1, 3, 1, 8, 8])


@pytest.mark.parametrize(
    ("table", "data_bytes", "message"),
    [({"masks": GOOD, "__metadata__": {"a": "b"}}, 768, "holds no tensor `frames`; it holds masks"),
     ({"frames": GOOD}, 767, "truncated or damaged: "),
     ({"frames": GOOD}, 769, "truncated or damaged: "),
     ({"frames": GOOD, "x": entry(760, 800, [10])}, 800, "its tensors overlap or leave gaps"),
     ({"frames": entry(8, 776, [1, 3, 1, 8, 8])}, 776, "its tensors overlap or leave gaps"),
     ({"frames": entry(768, 0, [1, 3, 1, 8, 8])}, 768, "its header is damaged"),
     ({"frames": entry(0, 768, [1, 3, 1, 8, 9])}, 768, "its header is damaged"),
     ({"frames": entry(0, 768, [1, 3, -1, 8, 8])}, 768, "its header is damaged"),
     ({"frames": entry(0, 768, [1, 3, 1, 8, 8], "I32")}, 768, "dtype I32 is not allowed"),
     ({"frames": GOOD, "x": [1]}, 768, "its header is damaged"),
     ([1], 0, "not a safetensors file"),
     (b'{"frames": 1, "frames": 2}', 0, "its header is damaged"),
     (b"[" * 100_000, 0, "not a safetensors file"),
     (b'{"a":' * 100_000, 0, "its header is damaged"),
     (b"\xff\xfe{}", 0, "not a safetensors file"),
     ({}, 0, "it holds nothing")],
)  # fmt: skip
def test_a_safetensors_file_that_is_damaged_or_foreign_is_refused(tmp_path, table, data_bytes, message):
    assert message in refusal(header(tmp_path / "a.safetensors", table, bytes(data_bytes)))


@pytest.mark.parametrize("data", [b"", b"1234567", struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 99) + b"{}"])
def test_a_header_length_that_cannot_be_is_refused_unread(tmp_path, data):
    (tmp_path / "a.safetensors").write_bytes(data)
    assert re.search("not a safetensors file|ends inside its header", refusal(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("name", ["a.pt", "a.PTH", "a.ckpt"])
def test_pickles_are_refused_with_what_to_do(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\3\4")
    assert "is a pickle" in refusal(tmp_path / name) and ".safetensors" in refusal(tmp_path / name)


@pytest.mark.parametrize("data", [b"PK\3\4" + bytes(40), b"\x80\x02}q\0." + bytes(40)])
def test_a_bin_that_is_a_pickle_is_reported_as_one(tmp_path, data):
    (tmp_path / "a.bin").write_bytes(data)
    assert "is a pickle" in refusal(tmp_path / "a.bin")


def test_missing_and_unknown_files_are_errors(tmp_path):
    for name in ("none.npy", "none.safetensors", "none.mp4", "none.pt"):
        with pytest.raises(MissingInputError, match=name):
            facts_of(tmp_path / name)
    (tmp_path / "a.txt").touch()
    assert ".npy .bin .safetensors .png" in refusal(tmp_path / "a.txt")
    (tmp_path / "folder.safetensors").mkdir()
    assert "the folder holds no images" in refusal(tmp_path / "folder.safetensors")
    assert "is a folder, not a data blob" in refusal(tmp_path, part=BlobPart(0, (1, 3, 1, 8, 8)))
    os.mkfifo(tmp_path / "pipe.npy")
    assert "is neither a file nor a folder" in refusal(tmp_path / "pipe.npy")


def test_frames_of_a_size_that_nobody_means_are_refused_unread(tmp_path):
    path = tmp_path / "huge"
    path.touch()
    os.truncate(path, 3 * 9000 * 9000 * 4)
    assert "frames of 9000x9000 are too large" in refusal(path, part=BlobPart(0, (1, 3, 1, 9000, 9000)))


def test_an_animated_image_is_control_of_many_frames(tmp_path):
    pages = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    pages[0].save(tmp_path / "a.webp", save_all=True, append_images=pages[1:])
    assert probe_material(ClipSource("control", tmp_path / "a.webp")).frames == 2
