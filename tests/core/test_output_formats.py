"""The table of output formats and the places that repeat it."""

from pathlib import Path

from scope_batch.cli.arguments import Format
from scope_batch.core.output_formats import OUTPUT_FORMATS, STDOUT_FORMATS
from scope_batch.sinks.encoders import ENCODERS

GUIDE = Path(__file__).parents[2] / "scope_batch" / "guide"


def test_the_command_line_offers_the_formats_of_standard_output():
    assert tuple(Format) == STDOUT_FORMATS and {*STDOUT_FORMATS} <= OUTPUT_FORMATS.keys()


def test_default_encoders_support_their_container():
    codecs = {name: form.codec for name, form in OUTPUT_FORMATS.items() if form.codec}
    assert [name for name, codec in codecs.items() if name not in ENCODERS[codec].containers] == []


def test_the_guide_names_every_output_format():
    section = (GUIDE / "outputs.md").read_text().partition("## Whole or not at all")[0]
    assert [name for name in OUTPUT_FORMATS if f".{name}" not in section] == []
