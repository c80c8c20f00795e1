"""`help`: shows pages of the guide, the reference of job fields, and the options of verbs."""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches
from typing import Annotated

import typer
from typer.core import TyperGroup

from scope_batch.cli.documents import print_text
from scope_batch.errors import UsageError

Topic = Annotated[
    str | None, typer.Argument(metavar="[TOPIC]", help="A page, `fields`, or a verb; without it, the list of pages.")
]
FieldName = Annotated[str | None, typer.Argument(metavar="[NAME]", help="After `field`: a field of a job file.")]


def help_(context: typer.Context, topic: Topic = None, name: FieldName = None) -> None:
    """Show the guide: a page, the fields of a job file (`fields`, `field NAME`), or the options of a verb."""
    if name is not None and topic != "field":
        raise UsageError(f"help {topic} {name}: only `help field NAME` takes a second word")
    from scope_batch.guide import find_page

    parent = context.parent
    group = parent.command if parent else None
    command = group.get_command(parent, topic) if parent and topic and isinstance(group, TyperGroup) else None
    if command is None or (topic and find_page(topic)):
        show_markdown(_text_of(topic, name, is_verb=command is not None))
    else:
        print_text(command.get_help(typer.Context(command, info_name=topic, parent=parent)))


def _text_of(topic: str | None, name: str | None, *, is_verb: bool) -> str:
    from scope_batch.guide import contents, field_page, field_reference, find_page, linked_as_commands, page_titled

    if topic is None:
        return contents()
    if topic == "field":
        return _field(name)
    if topic == "fields":
        return field_reference()
    if page := find_page(topic) or page_titled(topic):
        verb = f"\nOptions of the verb: `scope-batch {topic} --help`\n" if is_verb else ""
        return linked_as_commands(page.text) + verb
    return field_page(topic) or _refuse(topic)


def _field(name: str | None) -> str:
    from scope_batch.guide import all_fields, field_page

    if name is None:
        raise UsageError("help field: takes the name of a field; `scope-batch help fields` lists them")
    if page := field_page(name):
        return page
    names = sorted({known for field in all_fields() for known in (field.name, field.path)})
    near = get_close_matches(name, names, n=3)
    raise UsageError(f"help field {name}: no such field; {_meant(near)}`scope-batch help fields` lists them")


def _refuse(topic: str) -> str:
    from scope_batch.guide import PAGES, pages_that_mention

    mentioned = pages_that_mention(topic)
    pages = f"pages that mention it: {', '.join(mentioned)}; " if mentioned else ""
    near = _meant(get_close_matches(topic, (*PAGES, "fields"), n=3))
    raise UsageError(f"help {topic}: no such topic; {near}{pages}`scope-batch help` lists them")


def _meant(near: list[str]) -> str:
    return f"did you mean {' or '.join(near)}? " if near else ""


def show_markdown(text: str) -> None:
    """Show Markdown in a pager if standard output is a terminal; else print it as it is."""
    if not sys.stdout.isatty():
        print_text(text)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    os.environ.setdefault("LESS", "FRX")  # shows colours, and leaves a short page on the screen
    console = Console(emoji=False)
    with console.pager(styles=console.color_system is not None):
        console.print(Markdown(text, hyperlinks=False))
