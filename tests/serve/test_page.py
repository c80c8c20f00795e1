from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from fastapi import FastAPI

from scope_batch.serve.page import answer_with_page, page_headers, page_text
from tests.serve.conftest import Call

MAX_BYTES = 40_000


class Elements(HTMLParser):
    """Collects the elements of a page: name, attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def script() -> str:
    (text,) = re.findall(r"<script>(.*?)</script>", page_text(), re.DOTALL)
    return str(text)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_page_is_served_at_the_root(method: str, call: Call) -> None:
    app = FastAPI()
    answer_with_page(app)
    answer = call(app, method, "/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers.items() >= {name.lower(): value for name, value in page_headers(page_text()).items()}.items()
    assert (answer.text == page_text()) == (method == "GET")


def test_the_policy_allows_nothing_but_the_page_s_own_script_and_style() -> None:
    policy = dict(part.split(" ", 1) for part in page_headers(page_text())["Content-Security-Policy"].split("; "))
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    assert (policy["default-src"], policy["script-src"]) == ("'none'", f"'sha256-{digest}'")
    assert not any(word in value for value in policy.values() for word in ("unsafe", "*", "http"))
    assert {"base-uri", "form-action", "frame-ancestors", "require-trusted-types-for"} <= policy.keys()


def test_the_page_loads_nothing_else() -> None:
    assert len(page_text().encode()) <= MAX_BYTES
    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r"^\s*// .*$", "", page_text(), flags=re.MULTILINE))
    links = [(tag, name, value) for tag, attributes in Elements(page_text()).found for name, value in attributes.items()
             if name in ("src", "href", "action", "style", "srcset") or name.startswith("on")]  # fmt: skip
    assert links == [("link", "href", "data:,"), ("a", "href", "#"), ("a", "href", "#")]


def test_the_script_makes_no_html_of_texts() -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(", script())


def test_every_field_and_picture_has_a_name() -> None:
    elements = Elements(page_text()).found
    labelled = {attributes.get("for") for tag, attributes in elements if tag == "label"}
    for tag, attributes in elements:
        if tag in ("input", "textarea"):
            assert attributes["id"] in labelled
        if tag in ("img", "video", "progress"):
            assert attributes.get("alt") or attributes.get("aria-label")
