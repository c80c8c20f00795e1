"""Reads the pages of the guide, which are Markdown files in this folder.

A page begins with its title, `# ...`, an empty line, and one line that summarizes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

FOLDER = Path(__file__).parent
DEMO_JOB, DEMO_DEPTH = FOLDER / "demo.yaml", FOLDER / "demo_depth.mp4"
"""The job of `scope-batch demo`, and its control video, which the job names depth.mp4."""

PAGES = (
    "first-render",
    "jobs",
    "prompts",
    "steering",
    "loras",
    "inputs",
    "processors",
    "outputs",
    "frames",
    "models",
    "speed",
    "resume",
    "golden",
    "farm",
    "storage",
    "progress",
    "server",
    "python",
    "troubleshooting",
    "glossary",
)
"""Names of all pages, in the order in which they are listed."""

MOST_PAGES = 5
"""How many pages are named beside a field."""

_WORD = re.compile(r"\w+")
_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the guide. text: all of it, as Markdown."""

    name: str
    title: str
    summary: str
    text: str


def find_page(name: str) -> Page | None:
    """Return the page of this name, None if there is none."""
    if name not in PAGES:
        return None
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    title, _, summary, *_ = text.splitlines()
    return Page(name, title.removeprefix("# "), summary, text)


def all_pages() -> tuple[Page, ...]:
    """Return all pages, in the order of `PAGES`."""
    return tuple(page for name in PAGES if (page := find_page(name)))


def page_titled(word: str) -> Page | None:
    """Return the page with this word in its title, singular or plural; None unless there is exactly one."""
    wanted = word.lower().rstrip("s")
    found = [page for page in all_pages() if wanted in (part.rstrip("s") for part in _WORD.findall(page.title.lower()))]
    return found[0] if len(found) == 1 else None


def pages_that_mention(word: str) -> tuple[str, ...]:
    """Return the names of the pages with this word in them, in upper or lower case."""
    pattern = re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])", re.IGNORECASE)
    return tuple(page.name for page in all_pages() if pattern.search(page.text))


def pages_on_field(name: str) -> tuple[str, ...]:
    """Return the names of a few pages on a field of a job file: those that explain it, then those that show it."""
    key = rf"(?<![\w.-]){re.escape(name)}(?![\w-])"
    explained = re.compile(rf"`[^`\n]*{key}[^`\n]*`")
    shown = re.compile(rf"^ *(?:- \{{|- |.*\{{)?{key}:(?: |$)", re.MULTILINE)
    pages = all_pages()
    found = [page.name for pattern in (explained, shown) for page in pages if pattern.search(page.text)]
    return tuple(dict.fromkeys(found))[:MOST_PAGES]


def contents() -> str:
    """Return the list of topics as Markdown."""
    width = max(map(len, PAGES))
    topics = "".join(f"{page.name:{width}}  {page.summary}\n" for page in all_pages())
    return f"""\
# The guide of scope-batch

`scope-batch help TOPIC` shows a page, `scope-batch help VERB` the options of a verb.

```text
{topics}\
{"fields":{width}}  Every field of a job file, with its values and its default.
{"field NAME":{width}}  One field: `scope-batch help field noise_scale`.
```
"""


def linked_as_commands(text: str) -> str:
    """Return a page for a terminal: links to pages become commands, links to files their paths in the repository."""

    def shown(link: re.Match[str]) -> str:
        words, target = link[1], PurePosixPath(link[2])
        if "://" in link[2]:
            return f"{words} ({link[2]})"
        if target.suffix == ".md" and target.stem in PAGES:
            command = f"`scope-batch help {target.stem}`"
            return command if words == target.stem else f"{words} ({command})"
        path = PurePosixPath(*(part for part in target.parts if part != ".."))
        known = words.strip("`") in (str(path), path.name)
        return f"{path} in the repository" if known else f"{words} ({path} in the repository)"

    return _LINK.sub(shown, text)
