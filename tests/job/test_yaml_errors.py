"""Tests that errors of YAML are reported in plain words, with the remedy."""

import pytest

from scope_batch.errors import JobError
from scope_batch.job import load_text

QUOTES = "a text that begins with {} needs quotes"
ESCAPE = r"in double quotes \ begins an escape; write a path with / or in single quotes, or \\ for the character"


def refusal(text: str) -> str:
    with pytest.raises(JobError) as caught:
        load_text(text, name="j")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt: a cat: in the rain",
         '1:14: not valid YAML: a colon and a space end a key, so put the text in quotes: '
         'prompt: "a cat: in the rain"'),
        ("prompt: a\nchunk_specs:\n- text: dusk: red",
         '3:13: not valid YAML: a colon and a space end a key, so put the text in quotes: text: "dusk: red"'),
        ("prompt: a\n  seed: 3",
         "2:7: not valid YAML: this line is indented deeper than the key above it; if it belongs to a text, the text "
         "needs quotes"),
        ("prompt: a cat\nin the rain\nseed: 3",
         "3:1: not valid YAML: a line that is not `key: value`; a text that continues in the next line is indented "
         "deeper than its key, or quoted"),
        ("prompt: @home", f"1:9: not valid YAML: {QUOTES.format('@')}"),
        ("prompt: %x", f"1:9: not valid YAML: {QUOTES.format('%')}"),
        ("prompt: *bold*", f"1:14: not valid YAML: {QUOTES.format('* or &')}"),
        ("prompt: &co a cat", "1:9: the anchor &co is not used; a text that begins with & needs quotes"),
        ("prompt: - a cat", f"1:9: not valid YAML: {QUOTES.format('-')}, and a list begins in a new line"),
        ('prompt: "a" cat',
         "1:13: not valid YAML: a text ends at its closing quote; inside '...' write '' for a quote, inside \"...\" "
         'write \\"'),
        ('prompt: a\ninput_path: "C:\\clips\\a.mp4"', f"2:16: not valid YAML: {ESCAPE}"),
        ('prompt: a\ninput_path: "C:\\users\\a.mp4"', f"2:18: not valid YAML: {ESCAPE}"),
        ("\tprompt: a", "1:1: not valid YAML: a tab indents this line; indent with spaces"),
        ('prompt: "\\ud83d"',
         "1:12: not valid YAML: an escape \\uD800 to \\uDFFF is half of a character; write the character itself"),
    ],
)  # fmt: skip
def test_a_slip_is_named_with_its_remedy(text: str, message: str) -> None:
    assert refusal(text) == f"j:{message}"


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ('prompt: "a \\ud83d\\ude00 b"', "a \U0001f600 b"),
        ("prompt: \"\\uD83D\\uDE00\\uD83D\\uDE00\"", "\U0001f600\U0001f600"),
        ("prompt: 'a \\ud83d\\ude00'", "a \\ud83d\\ude00"),
        ("prompt: a \\ud83d\\ude00", "a \\ud83d\\ude00"),
    ],
)  # fmt: skip
def test_json_escapes_of_an_emoji_are_read_in_double_quotes(text: str, prompt: str) -> None:
    assert load_text(text, name="j").prompt[0].text == prompt


def test_json_escapes_are_read_in_an_override() -> None:
    assert load_text("prompt: a", name="j", overrides=['prompt="\\ud83d\\ude00"']).prompt[0].text == "\U0001f600"
    listed = load_text("prompt: a", name="j", overrides=['chunk_specs=[{chunk: 1, text: "\\ud83d\\ude00"}]'])
    assert listed.chunk_specs[0].text == "\U0001f600"


def test_more_escapes_than_are_joined_are_refused() -> None:
    assert "write the character itself" in refusal('prompt: "' + "\\ud83d\\ude00" * 60 + '"')
