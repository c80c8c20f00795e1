from __future__ import annotations

import os
from pathlib import Path

import pytest

from scope_batch.errors import MissingInputError, OutputError, TemporaryError, UnavailableError
from scope_batch.events import Event
from scope_batch.files.urls import copy_path
from scope_batch.storage.copies import LIMIT_VARIABLE
from scope_batch.storage.fetch import fetch
from tests.storage.cutting_proxy import CuttingProxy
from tests.storage.storages import S3


def fetched(url: str) -> bytes:
    path = copy_path(url)
    fetch(path)
    return path.read_bytes()


def test_an_object_is_fetched_once(s3: S3) -> None:
    url, events = s3.put("clips/a.bin", b"frames"), list[Event]()
    for _ in range(2):
        fetch(copy_path(url), events.append)
    assert copy_path(url).read_bytes() == b"frames"
    assert [event.to_json()["what"] for event in events] == [f"fetching {url}, 6 bytes"]


def test_a_changed_object_is_fetched_again_although_it_has_the_same_size(s3: S3) -> None:
    assert fetched(s3.put("a.bin", b"before")) == b"before"
    assert fetched(s3.put("a.bin", b"after!")) == b"after!"


def test_a_damaged_copy_is_fetched_again(s3: S3) -> None:
    url = s3.put("a.bin", b"frames")
    fetched(url)
    copy_path(url).write_bytes(b"fram")
    assert fetched(url) == b"frames"


def test_an_object_that_is_gone_leaves_no_copy(s3: S3) -> None:
    url = s3.put("a.bin", b"frames")
    fetched(url)
    s3.client.rm_file(url)
    with pytest.raises(MissingInputError, match=rf"^{url}: no such object, and no folder"):
        fetch(copy_path(url))
    assert not copy_path(url).exists()


def test_a_folder_is_fetched_with_the_objects_directly_in_it(s3: S3) -> None:
    for name in ("1.png", "2.png", "below/3.png"):
        s3.put(f"frames/{name}", name.encode())
    fetch(copy_path(s3.url("frames")))
    s3.client.rm_file(s3.url("frames/2.png"))
    fetch(copy_path(s3.url("frames")))
    assert os.listdir(copy_path(s3.url("frames"))) == ["1.png"]  # noqa: PTH208


@pytest.mark.parametrize("pattern", ["%02d.png", "0?.png", "*.png"])
def test_a_pattern_is_fetched_with_the_objects_that_match(s3: S3, pattern: str) -> None:
    for name in ("01.png", "02.png", "notes.txt"):
        s3.put(f"frames/{name}", name.encode())
    path = copy_path(s3.url(f"frames/{pattern}"))
    fetch(path)
    assert sorted(file.name for file in path.parent.iterdir()) == ["01.png", "02.png"]


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_does_not_exist_is_named() -> None:
    with pytest.raises(MissingInputError, match=r"^s3://nobody/a\.bin: no such object"):
        fetch(copy_path("s3://nobody/a.bin"))


def test_a_large_object_is_not_fetched_under_a_limit(s3: S3) -> None:
    url = s3.put("a.mp4", b"x" * 1000)
    with pytest.raises(UnavailableError, match=rf"^{url}: .* 1.0 kB are more than a plan fetches .*plan --fetch"):
        fetch(copy_path(url), limit=999)
    fetch(copy_path(url))
    fetch(copy_path(url), limit=999)


def test_of_a_large_safetensors_file_the_header_alone_is_fetched_under_a_limit(s3: S3) -> None:
    data = (16).to_bytes(8, "little") + b"{" + b" " * 14 + b"}" + b"\1" * 1000
    url = s3.put("a.safetensors", data)
    fetch(copy_path(url), limit=100, header=True)
    assert copy_path(url).read_bytes() == data[:24] + bytes(1000)
    assert fetched(url) == data


def test_a_broken_connection_is_a_passing_fault_and_leaves_no_copy(s3: S3, proxy: CuttingProxy) -> None:
    url = s3.put("a.bin", b"frames")
    proxy.cut()
    with pytest.raises(TemporaryError, match=rf"^{url}: cannot be read: the storage cannot be reached or broke off"):
        fetch(copy_path(url))
    assert not copy_path(url).exists()


def test_missing_credentials_are_told(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    s3.connect_anew()
    with pytest.raises(UnavailableError, match="cannot be read: no credentials were found"):
        fetch(copy_path(s3.url("a.bin")))


def test_a_refused_key_is_told(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "denied")
    s3.connect_anew()
    with pytest.raises(UnavailableError, match="cannot be read: access denied"):
        fetch(copy_path(s3.url("a.bin")))


@pytest.mark.usefixtures("no_s3fs")
def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPE_BATCH_CACHE", str(tmp_path))
    with pytest.raises(UnavailableError, match=r"^s3:// needs the package s3fs; pip install 'scope-batch\[s3\]'"):
        fetch(copy_path("s3://films/a.bin"))


def test_copies_that_were_not_used_for_longest_make_room(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, large = (s3.put(name, bytes(400)) for name in ("old.bin", "new.bin", "large.bin"))
    for url in (old, new):
        fetched(url)
    _end_of_this_process(monkeypatch)
    fetched(new)
    monkeypatch.setenv(LIMIT_VARIABLE, "9e-7")
    fetched(large)
    assert [copy_path(url).exists() for url in (old, new, large)] == [False, True, True]


def test_copies_in_use_are_not_removed(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (s3.put(name, bytes(400)) for name in ("one.bin", "other.bin"))
    fetched(one)
    monkeypatch.setenv(LIMIT_VARIABLE, "5e-7")
    with pytest.raises(OutputError, match=rf"^{other}: 400 bytes do not fit: .* may take 500 bytes .*{LIMIT_VARIABLE}"):
        fetch(copy_path(other))
    assert copy_path(one).exists()


def _end_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up the list of the copies in use, as the end of the process does."""
    from scope_batch.storage import copies

    assert copies._mine is not None
    os.close(copies._mine[1])
    monkeypatch.setattr(copies, "_mine", None)
