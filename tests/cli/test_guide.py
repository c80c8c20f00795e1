"""`help` shows pages, fields and the options of verbs; on a terminal through a pager."""

from __future__ import annotations

import pytest

from scope_batch.guide import PAGES, find_page, linked_as_commands


def test_without_a_topic_all_pages_are_listed(run):
    ran = run("help")
    assert ran.code == 0 and all(f"\n{name} " in ran.out for name in PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_plain_text_in_a_pipe(run, name):
    page = find_page(name)
    assert page is not None and run("help", name).out.startswith(linked_as_commands(page.text))


def test_a_page_named_like_a_verb_tells_where_the_options_are(run):
    assert run("help", "models").out.endswith("\nOptions of the verb: `scope-batch models --help`\n")
    assert "--help`" not in run("help", "loras").out.splitlines()[-1]


@pytest.mark.parametrize(("word", "name"), [("transitions", "prompts"), ("licence", "models"), ("exit", "progress")])
def test_a_word_of_its_title_also_finds_a_page(run, word, name):
    assert run("help", word).out == linked_as_commands(find_page(name).text)


def test_fields_are_shown_all_or_one(run):
    assert "* `noise_scale`: " in run("help", "fields").out
    assert run("help", "field", "noise_scale").out == run("help", "noise_scale").out
    assert run("help", "field", "output.crf").code == 0


def test_a_verb_shows_its_options(run):
    ran = run("help", "render")
    assert ran.code == 0 and ran.err == "" and "--skip-existing" in ran.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["promts"], "did you mean prompts?"),
        (["webm"], "pages that mention it: inputs, outputs"),
        (["nothing-of-this"], "help nothing-of-this: no such topic; `scope-batch help` lists them"),
        (["field", "noise_scal"], "did you mean noise_scale or"),
        (["field"], "`scope-batch help fields` lists them"),
        (["jobs", "seed"], "only `help field NAME` takes a second word"),
    ],
)
def test_an_unknown_topic_is_a_usage_error_that_helps_on(run, words, message):
    ran = run("help", *words)
    assert ran.code == 2 and ran.out == "" and len(ran.errors) == 1 and message in ran.err


def test_a_terminal_gets_a_pager_with_rendered_text(run, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    shown = []
    monkeypatch.setattr("pydoc.pager", lambda text, *_: shown.append(text))
    monkeypatch.setenv("LESS", "")
    run("help", "loras")
    (text,) = shown
    assert "LoRAs" in text and "```" not in text
