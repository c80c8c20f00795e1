from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from scope_batch.errors import JobError, MissingInputError
from scope_batch.files import cache
from scope_batch.models import checkpoint
from scope_batch.models.checkpoint import read_checkpoint, read_shapes
from scope_batch.models.pickle_shapes import read_pickle_shapes

from .helpers import BACKBONE, TEXT_ENCODER

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}


class Code:
    """Unpickling this without protection calls `function(*arguments)`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def saved(path: Path, value: Any) -> Path:
    torch.save(value, path)
    return path


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor] = STATE) -> bool:
    return list(found) == list(expected) and all(torch.equal(found[k], v) for k, v in expected.items())


@pytest.mark.parametrize("wrapper", ["generator", "generator_lora", "state_dict", "whatever is alone"])
def test_inner_dictionary_is_unwrapped(tmp_path: Path, wrapper: str) -> None:
    assert same(read_checkpoint(saved(tmp_path / "x.pt", {wrapper: STATE, "epoch": 3})))


def test_generator_wins_over_its_neighbours(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pt", {"critic": {"c": torch.zeros(1)}, "generator": STATE})
    assert same(read_checkpoint(path))


def test_model_prefix_comes_off_only_when_every_key_has_it(tmp_path: Path) -> None:
    all_of_them = {f"model.{key}": value for key, value in STATE.items()}
    assert same(read_checkpoint(saved(tmp_path / "all.pt", all_of_them)))
    some = {"model.a": torch.ones(1), "b": torch.ones(1)}
    assert same(read_checkpoint(saved(tmp_path / "some.pt", some)), some)


def test_shapes_come_from_the_header(tmp_path: Path) -> None:
    expected = {key: value.shape for key, value in STATE.items()}
    save_file({f"model.{key}": value for key, value in STATE.items()}, tmp_path / "x.safetensors")
    assert read_shapes(tmp_path / "x.safetensors") == expected
    assert read_shapes(saved(tmp_path / "x.pt", {"generator": STATE})) == expected


@pytest.mark.parametrize("function", [os.mkdir, eval, Path])
def test_code_is_never_run(tmp_path: Path, function: Any) -> None:
    witness = tmp_path / "witness"
    argument = f"__import__('os').mkdir({str(witness)!r})" if function is eval else str(witness)
    with pytest.raises(JobError, match=r"holds code"):
        read_checkpoint(saved(tmp_path / "x.pt", Code(function, argument)))
    (tmp_path / "y.pt").write_bytes(pickle.dumps(Code(function, argument), 2))
    with pytest.raises(JobError, match=r"y.pt: "):
        read_checkpoint(tmp_path / "y.pt")
    assert not witness.exists()


def test_foreign_object_beside_the_tensors_is_inert(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    path = saved(tmp_path / "x.pt", {"config": Code(eval, f"open({str(witness)!r}, 'w')"), "generator": STATE})
    assert same(read_checkpoint(path))
    assert not witness.exists()


@pytest.mark.parametrize("keep", [0, 3, 1000, -1, -5000])
@pytest.mark.parametrize("name", [BACKBONE, TEXT_ENCODER])
def test_truncated_file_is_one_line(parity_models: Path, tmp_path: Path, name: str, keep: int) -> None:
    path = tmp_path / Path(name).name
    path.write_bytes((parity_models / name).read_bytes()[:keep])
    for read in (read_checkpoint, read_shapes):
        with pytest.raises(JobError, match=r"truncated|is empty") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("head", [b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x02}q\x00("])
def test_garbage_is_one_line(tmp_path: Path, suffix: str, head: bytes) -> None:
    path = tmp_path / f"x{suffix}"
    for seed in range(20):
        path.write_bytes(
            head + torch.randint(256, (999,), generator=torch.Generator().manual_seed(seed)).numpy().tobytes()
        )
        with pytest.raises(JobError, match=r"x\.\w+: ") as caught:
            read_checkpoint(path)
        assert "\n" not in str(caught.value)


def bomb(path: Path, member: str, size: int) -> Path:
    """Write an archive like one of torch.save, in which `member` unpacks to `size` zero bytes."""
    saved(path, {"a": torch.ones(2)})
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in kept.items():
            archive.writestr(name, bytes(size) if name.endswith(member) else content)
    return path


@pytest.mark.parametrize("member", ["data.pkl", "data/0"])
@pytest.mark.parametrize("read", [read_checkpoint, read_shapes])
def test_an_archive_that_unpacks_to_more_than_it_holds_is_refused_unopened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any, member: str
) -> None:
    path = bomb(tmp_path / "x.pt", member, 1 << 20)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("was opened"))
    with pytest.raises(JobError, match=r"x\.pt: unpacks to 1 MB"):
        read(path)
    assert read_pickle_shapes(path) == {}


@pytest.mark.parametrize("name", ["x.pt", "x.pth", "x.safetensors"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n", "Git LFS"), (b"<html>", "web page")],
)
def test_a_placeholder_for_a_file_that_was_not_fetched_is_named(
    tmp_path: Path, name: str, content: bytes, kind: str
) -> None:
    (tmp_path / name).write_bytes(content.ljust(64))
    for read in (read_checkpoint, read_shapes):
        with pytest.raises(JobError, match=kind):
            read(tmp_path / name)


def test_a_key_that_comes_twice_is_refused(tmp_path: Path) -> None:
    entry = '"a":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}'
    header = f"{{{entry % (0, 1)},{entry % (1, 2)}}}".encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"12")
    for read in (read_checkpoint, read_shapes):
        with pytest.raises(JobError, match="header is damaged"):
            read(tmp_path / "x.safetensors")


@pytest.mark.parametrize("value", [{"epoch": 3}, [torch.ones(1)], torch.ones(1), {"a": {"b": 1}, "c": {}}])
def test_something_else_than_a_state_dict_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(JobError, match="holds"):
        read_checkpoint(saved(tmp_path / "x.pt", value))


def test_missing_file_and_foreign_suffix(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no such file"):
        read_checkpoint(tmp_path / "x.pt")
    (tmp_path / "x.gguf").touch()
    with pytest.raises(JobError, match=r"\.safetensors, \.pt and \.pth"):
        read_checkpoint(tmp_path / "x.gguf")


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Treat every pickle as large; returns the folder of conversions."""
    monkeypatch.setattr(checkpoint, "CONVERT_FROM_BYTES", 0)
    monkeypatch.setenv("SCOPE_BATCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "converted"


def conversions(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def test_a_pickle_is_converted_once_and_the_conversion_reused(
    tmp_path: Path, converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "x.pt", {"generator": STATE})
    assert same(read_checkpoint(path))
    monkeypatch.setattr(checkpoint, "_read_pickle", lambda _: pytest.fail("read the pickle again"))
    assert same(read_checkpoint(path))
    assert len(conversions(converted)) == 1


def test_conversion_follows_the_file(tmp_path: Path, converted: Path) -> None:
    path = saved(tmp_path / "x.pt", STATE)
    before = read_checkpoint(path)
    other = {key: value + 1 for key, value in STATE.items()}
    saved(path, other)
    assert same(read_checkpoint(path), other)
    assert len(conversions(converted)) == 1
    assert same(before), "what was mapped before is still whole"


def cut_short(conversion: Path) -> None:
    conversion.write_bytes(conversion.read_bytes()[:-1])


def with_a_bit_flipped(conversion: Path) -> None:
    content = conversion.read_bytes()
    conversion.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def without_its_checksum(conversion: Path) -> None:
    conversion.with_name(f"{conversion.name}.sha256").unlink()


def a_folder(conversion: Path) -> None:
    conversion.unlink()
    (conversion / "inside").mkdir(parents=True)


@pytest.mark.parametrize("damage", [cut_short, with_a_bit_flipped, without_its_checksum, a_folder])
def test_a_damaged_conversion_is_rebuilt(tmp_path: Path, converted: Path, damage: Callable[[Path], None]) -> None:
    path = saved(tmp_path / "x.pt", STATE)
    read_checkpoint(path)
    (only,) = conversions(converted)
    damage(only)
    assert same(read_checkpoint(path))
    assert cache.is_sound(only) and conversions(converted) == [only]


def test_full_cache_does_not_stop_the_reading(tmp_path: Path, converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    assert same(read_checkpoint(saved(tmp_path / "x.pt", STATE)))
    assert not conversions(converted)


def test_shared_and_strided_tensors_convert(tmp_path: Path, converted: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    state = {"a": base, "b": base, "c": base.t()}
    assert same(read_checkpoint(saved(tmp_path / "x.pt", state)), state)
    assert conversions(converted)
