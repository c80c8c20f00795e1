from __future__ import annotations

import pytest

from scope_batch.guide import PAGES, contents, find_page, linked_as_commands, pages_that_mention
from scope_batch.guide.pages import pages_on_field
from tests.documents import GUIDE


def test_every_page_is_listed() -> None:
    assert {path.stem for path in GUIDE.glob("*.md")} == set(PAGES)
    assert all(f"\n{name} " in contents() for name in PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_a_title_and_a_summary_of_one_line(name: str) -> None:
    page = find_page(name)
    assert page is not None and page.text.startswith(f"# {page.title}\n\n{page.summary}\n\n")
    assert page.summary.endswith(".") and len(page.summary) < 120


def test_a_link_to_a_page_becomes_a_command_and_one_to_a_file_its_path() -> None:
    text = "[jobs](jobs.md) [a plugin](../../examples/plugin) [a.yaml](../../examples/a.yaml) [site](https://a.org)"
    assert linked_as_commands(text) == (
        "`scope-batch help jobs` a plugin (examples/plugin in the repository) "
        "examples/a.yaml in the repository site (https://a.org)"
    )


def test_pages_are_found_by_whole_words() -> None:
    assert "outputs" in pages_that_mention("WebM")
    assert pages_that_mention("web") == ()


def test_pages_on_a_field_show_it_as_a_field() -> None:
    assert "loras" in pages_on_field("lora_scales")
    assert "server" not in pages_on_field("seed")  # there it is a key of a Python map
