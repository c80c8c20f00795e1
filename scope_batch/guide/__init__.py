"""The guide: pages of Markdown, and the reference of job fields that is made from the JSON Schema. Torch-free."""

from scope_batch.guide.fields import Field, all_fields, field_page, field_reference
from scope_batch.guide.pages import (
    DEMO_DEPTH,
    DEMO_JOB,
    PAGES,
    Page,
    contents,
    find_page,
    linked_as_commands,
    page_titled,
    pages_that_mention,
)

__all__ = [
    "DEMO_DEPTH",
    "DEMO_JOB",
    "PAGES",
    "Field",
    "Page",
    "all_fields",
    "contents",
    "field_page",
    "field_reference",
    "find_page",
    "linked_as_commands",
    "page_titled",
    "pages_that_mention",
]
