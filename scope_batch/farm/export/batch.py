"""Defines what is exported: the jobs of a batch as commands, and the script that runs one of them by its number."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

import yaml

SCRIPT = "render.sh"
EXIT_RETRY = 75
"""Exit code of a render that the same command continues; see the table in the README."""
EXIT_TERMINATED = 143
EXIT_KILLED = 137


@dataclass(frozen=True, slots=True)
class File:
    """A file of the export: its name in the folder, and its text."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Written:
    """The files for one queue. submit: the command that hands them over."""

    files: tuple[File, ...]
    submit: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs for a queue.

    name      of the batch: lower-case letters, digits and -.
    labels    how each job is called.
    commands  the words of the command that renders each.
    folder    on the machines of the queue, shared by all: there the commands run.
    export    folder of these files there.
    gpus      of one job; 0: none is asked for.
    """

    name: str
    labels: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]
    folder: str
    export: str
    gpus: int = 1

    @property
    def jobs(self) -> int:
        return len(self.commands)

    @property
    def script_path(self) -> str:
        return f"{self.export}/{SCRIPT}"

    def script(self) -> File:
        """Return the script whose argument is the number of a job, from 1. A signal reaches the render itself."""
        cases = "".join(f"  {number}) set -- {shlex.join(words)} ;;\n" for number, words in enumerate(self.commands, 1))
        text = f"""\
#!/bin/sh
# Renders job number $1 of 1 to {self.jobs}. After exit code {EXIT_RETRY} or a kill the same call continues it.
cd {shlex.quote(self.folder)} || exit 74
case "$1" in
{cases}\
  *) echo "{SCRIPT}: there is no job $1, only 1 to {self.jobs}" >&2; exit 2 ;;
esac
exec "$@"
"""
        return File(SCRIPT, text)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and equal values in full."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  (PyYAML passes the value)
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def yaml_text(document: Any) -> str:
    """Return a document as YAML, keys in their order."""
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text
