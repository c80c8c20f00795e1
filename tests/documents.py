"""Reads Markdown documents: their blocks of code, the commands in them, tables and links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "scope_batch" / "guide"


@dataclass(frozen=True)
class Document:
    """A Markdown file of the repository."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def all_blocks(self) -> list[tuple[str, str]]:
        """Language and text of every block of code."""
        return re.findall(r"^```(\w*)\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)

    def blocks(self, language: str) -> list[str]:
        return [text for name, text in self.all_blocks() if name == language]

    def commands(self) -> Iterator[list[str]]:
        """The words of every command in the shell blocks, pipelines and lists taken apart."""
        for line in "".join(self.blocks("sh")).splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
            lexer.whitespace_split = True
            command: list[str] = []
            for word in [*lexer, ";"]:
                if set(word) <= set("|&;"):
                    yield command
                    command = []
                else:
                    command.append(word)

    def calls(self, program: str) -> list[list[str]]:
        """The arguments of every call of `program`, from whichever folder."""
        return [words[1:] for words in self.commands() if words and words[0].split("/")[-1] == program]

    def rows(self, header: str) -> list[list[str]]:
        """Cells of the table whose first column is called `header`."""
        table = self.text[self.text.index(f"| {header} |") :].split("\n\n")[0].splitlines()[2:]
        return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]

    def links(self) -> list[str]:
        """Targets of all links and pictures, without those to other sites."""
        return [target for target in re.findall(r"\]\(([^)]+)\)", self.text) if "://" not in target]


README = Document(ROOT / "README.md")
PAGES = [Document(path) for path in sorted(GUIDE.glob("*.md"))]


def page(name: str) -> Document:
    return Document(GUIDE / f"{name}.md")
