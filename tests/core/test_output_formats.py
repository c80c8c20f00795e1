"""The table of output formats and the places that repeat it."""

from pathlib import Path

from scope_batch.cli.arguments import Format
from scope_batch.core.output_formats import OUTPUT_FORMATS, STDOUT_FORMATS
from scope_batch.sinks.encoders import ENCODERS

README = Path(__file__).parents[2] / "README.md"


def test_the_command_line_offers_the_formats_of_standard_output():
    assert tuple(Format) == STDOUT_FORMATS and {*STDOUT_FORMATS} <= OUTPUT_FORMATS.keys()


def test_default_encoders_support_their_container():
    codecs = {name: form.codec for name, form in OUTPUT_FORMATS.items() if form.codec}
    assert [name for name, codec in codecs.items() if name not in ENCODERS[codec].containers] == []


def test_the_readme_names_every_output_format():
    section = README.read_text().partition("## Outputs and pipes")[2].partition("\n\n`--preview")[0]
    assert [name for name in OUTPUT_FORMATS if f".{name}" not in section] == []
