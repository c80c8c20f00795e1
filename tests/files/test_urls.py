from __future__ import annotations

from pathlib import Path

import pytest

from scope_batch.files import urls


def test_a_url_and_the_path_of_its_copy_belong_together() -> None:
    path = urls.copy_path("s3://bucket/clips/a b.mp4")
    assert path.is_absolute() and path.name == "a b.mp4"
    assert urls.url_of(path) == "s3://bucket/clips/a b.mp4"


def test_a_file_beside_a_copy_is_an_object_beside_the_url() -> None:
    beside = urls.copy_path("hf://datasets/me/films/a.mp4").with_name("b.mp4")
    assert urls.url_of(beside) == "hf://datasets/me/films/b.mp4"


@pytest.mark.parametrize("path", ["/data/a.mp4", "a.mp4", "s3:/bucket/a.mp4"])
def test_other_paths_have_no_url(path: str) -> None:
    assert urls.url_of(Path(path)) is None


@pytest.mark.parametrize("text", ["/data/a.mp4", "C://a.mp4", "a: b://c", "depth_*.png", "s3:/bucket/a"])
def test_paths_are_no_urls(text: str) -> None:
    assert not urls.is_url(text)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://host/a.mp4", r"https:// is not supported; allowed: s3://, gs://, hf://"),
        ("file:///data/a.mp4", "write the path alone"),
        ("s3://key:secret@bucket/a.mp4", "may not hold a user name or a password"),
        ("s3://bucket/a.mp4?X-Amz-Signature=secret", "may not hold a query"),
        ("s3://bucket", "must be s3://BUCKET/NAME"),
        ("s3://bucket/", "must be s3://BUCKET/NAME"),
        ("s3://bucket/../a.mp4", r"without empty parts, \. and \.\."),
        ("s3://bucket//a.mp4", "without empty parts"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_secrets(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        urls.checked_url(url)
    assert "secret" not in str(caught.value)


def test_a_question_mark_of_a_pattern_is_no_query() -> None:
    assert urls.checked_url("s3://bucket/frames/depth_?.png") == "s3://bucket/frames/depth_?.png"


def test_a_folder_may_end_with_a_slash() -> None:
    assert urls.checked_url("gs://bucket/frames/") == "gs://bucket/frames"


def test_messages_name_urls_in_place_of_copies() -> None:
    assert urls.with_urls(f"{urls.copy_path('s3://b/a.mp4')}: is empty") == "s3://b/a.mp4: is empty"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://key:word@bucket/a: no", "s3://***@bucket/a: no"),
        ("s3:/key:word@bucket/a: no", "s3:/***@bucket/a: no"),
        ("https://host/a?X-Amz-Signature=word&b=c: no", "https://host/a?*** no"),
        ("s3://bucket/depth_?.png: me@example.org", "s3://bucket/depth_?.png: me@example.org"),
    ],
)
def test_messages_hide_passwords_and_queries(text: str, shown: str) -> None:
    assert urls.without_secrets(text) == shown
