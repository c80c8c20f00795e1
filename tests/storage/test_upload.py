from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest

from scope_batch.errors import OutputError, OutputExistsError, UnavailableError
from scope_batch.events import Event
from scope_batch.storage import upload as uploads
from scope_batch.storage.upload import upload
from tests.storage.cutting_proxy import CuttingProxy
from tests.storage.storages import S3

MIB = 2**20


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """11 MiB, which are three parts of a multipart upload."""
    monkeypatch.setattr(uploads, "PART_BYTES", 5 * MIB)
    path = tmp_path / "film.npy"
    path.write_bytes(random.Random(1).randbytes(11 * MIB))
    return path


def test_a_small_file_is_stored(s3: S3, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    stored = upload(tmp_path / "a.json", s3.url("out/a.json"), overwrite=False)
    assert (stored.size, s3.get("out/a.json"), s3.names()) == (2, b"{}", {"out/a.json"})


def test_a_file_in_parts_is_stored(s3: S3, film: Path) -> None:
    upload(film, s3.url("film.npy"), overwrite=False)
    assert s3.get("film.npy") == film.read_bytes()
    assert s3.client.info(s3.url("film.npy"))["ETag"].strip('"').endswith("-3")
    assert s3.unfinished() == 0


@pytest.mark.parametrize("size", [1, 11 * MIB])
def test_another_object_is_kept_unless_it_may_be_replaced(s3: S3, film: Path, size: int) -> None:
    s3.put("film.npy", b"another")
    film.write_bytes(film.read_bytes()[:size])
    with pytest.raises(OutputExistsError, match=r"film\.npy: exists; replace it with --overwrite"):
        upload(film, s3.url("film.npy"), overwrite=False)
    assert (s3.get("film.npy"), s3.unfinished()) == (b"another", 0)
    upload(film, s3.url("film.npy"), overwrite=True)
    assert s3.get("film.npy") == film.read_bytes()


def test_an_object_with_these_very_bytes_counts_as_uploaded(s3: S3, film: Path) -> None:
    upload(film, s3.url("film.npy"), overwrite=False)
    upload(film, s3.url("film.npy"), overwrite=False)
    assert s3.get("film.npy") == film.read_bytes()


@pytest.mark.parametrize("cut_after", [0, 2 * MIB, 8 * MIB])
def test_a_connection_cut_in_the_middle_leaves_no_object_and_the_next_upload_no_part(
    s3: S3, proxy: CuttingProxy, film: Path, cut_after: int
) -> None:
    proxy.cut_after = proxy.sent + cut_after
    with pytest.raises(OutputError, match=r"film\.npy: cannot be written: the storage cannot be reached or broke off"):
        upload(film, s3.url("film.npy"), overwrite=False)
    assert (s3.names(), s3.unfinished()) == (set(), 1 if cut_after else 0)
    s3.reached_at(s3.endpoint)
    upload(film, s3.url("film.npy"), overwrite=False)
    assert (s3.get("film.npy"), s3.unfinished()) == (film.read_bytes(), 0)


def test_a_cut_leaves_the_earlier_object(s3: S3, proxy: CuttingProxy, film: Path) -> None:
    s3.put("film.npy", b"earlier")
    proxy.cut_after = proxy.sent + 7 * MIB
    with pytest.raises(OutputError):
        upload(film, s3.url("film.npy"), overwrite=True)
    assert s3.get("film.npy") == b"earlier"


def test_unfinished_uploads_to_other_names_are_left_alone(s3: S3, film: Path) -> None:
    other = s3.client.call_s3("create_multipart_upload", Bucket="films", Key="film.npy.other")
    s3.client.call_s3("create_multipart_upload", Bucket="films", Key="film.npy")
    upload(film, s3.url("film.npy"), overwrite=False)
    assert [left["UploadId"] for left in s3.client.list_multipart_uploads("films")] == [other["UploadId"]]


@pytest.mark.usefixtures("s3")
def test_a_missing_bucket_is_named(film: Path) -> None:
    with pytest.raises(OutputError, match=r"^s3://nobody/film\.npy: cannot be written: no such bucket"):
        upload(film, "s3://nobody/film.npy", overwrite=False)


def test_a_refused_key_is_told(s3: S3, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "denied")
    s3.connect_anew()
    with pytest.raises(OutputError, match="cannot be written: access denied"):
        upload(film, s3.url("film.npy"), overwrite=False)


@pytest.mark.usefixtures("no_s3fs")
def test_a_missing_package_names_the_extra(film: Path) -> None:
    with pytest.raises(UnavailableError, match=r"s3:// needs the package s3fs; pip install 'scope-batch\[s3\]'"):
        upload(film, "s3://films/film.npy", overwrite=False)


def test_storage_that_lists_no_unfinished_uploads_takes_a_file_with_a_warning(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(*_: Any, **__: Any) -> Any:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(s3.client), "call_s3", call)
    (tmp_path / "a.json").write_text("{}")
    events: list[Event] = []
    upload(tmp_path / "a.json", s3.url("a.json"), events.append, overwrite=False)
    assert [event.kind for event in events] == ["warning", "remote"]
    assert s3.get("a.json") == b"{}"


def test_the_extra_of_google_cloud_storage_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(UnavailableError, match=r"^gs:// needs the package gcsfs; pip install 'scope-batch\[gcs\]'"):
        upload(tmp_path / "a.json", "gs://films/a.json", overwrite=False)
