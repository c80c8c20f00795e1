"""Who may import whom, read from the source; and what never brings torch along."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PACKAGE = Path(__file__).parent.parent / "scope_batch"

CORE = {"core", "errors", "events"}
MAY_IMPORT = {
    "errors": set(),
    "events": set(),
    "core": {"errors", "events"},
    "files": {"errors"},
    "storage": {"errors", "events", "files"},
    "pipelines": CORE,
    "processors": CORE,
    "job": {*CORE, "files", "pipelines", "processors"},
    "plan": {*CORE, "job", "pipelines", "processors"},
    "plugin": {*CORE, "pipelines", "plan", "processors"},
    "guide": {"job"},
    "importing": {*CORE, "files", "job", "pipelines", "plan"},
    "media": {*CORE, "files", "processors"},
    "checkpoint": CORE,
    "sinks": {*CORE, "checkpoint", "files", "media", "processors"},
    "models": {*CORE, "files", "pipelines", "processors", "storage"},
    "kernels": set(),
    "engine": {*CORE, "files", "kernels", "models", "pipelines"},
    "slate": {*CORE, "plan"},
    "progress": {"errors", "events"},
    "render": {
        *CORE,
        "checkpoint",
        "files",
        "job",
        "media",
        "models",
        "pipelines",
        "plan",
        "processors",
        "sinks",
        "storage",
    },
    "jobs": {*CORE, "job", "pipelines", "render"},
    "farm": {*CORE, "files", "job", "jobs", "pipelines", "render", "sinks"},
    "golden": {*CORE, "checkpoint", "files", "job", "media", "plan", "render", "sinks", "storage"},
    "review": {*CORE, "golden", "media", "plan"},
    "bench": {*CORE, "engine", "files", "job", "kernels", "models", "pipelines", "render"},
    "doctor": {*CORE, "files", "job", "kernels", "media", "models", "pipelines", "processors", "render", "sinks"},
    "serve": {*CORE, "files", "job", "jobs", "media", "models", "pipelines", "processors", "render", "sinks"},
    "submit": {*CORE, "files", "job", "models", "progress", "render", "sinks"},
    "cli": {
        *CORE,
        "bench",
        "checkpoint",
        "doctor",
        "farm",
        "files",
        "golden",
        "guide",
        "importing",
        "job",
        "media",
        "models",
        "pipelines",
        "plan",
        "progress",
        "render",
        "review",
        "serve",
        "sinks",
        "storage",
        "submit",
    },
    "__main__": {"cli", "progress"},
    "__init__": {*CORE, "files", "job", "render", "sinks"},
}
"""Room -> the rooms that it may import: an order without circles, also counting imports inside functions."""
TORCH_LIVES_IN = {"engine", "kernels", "models", "doctor", "bench"}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Every module a file names in an import statement, wherever it stands (types alone do not count)."""
    found: set[str] = set()
    for node in _outside_type_checking(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _outside_type_checking(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return []
    return [node, *(below for child in ast.iter_child_nodes(node) for below in _outside_type_checking(child))]


def test_every_room_imports_only_what_it_may() -> None:
    rooms = {room_of(path) for path in FILES}
    found = {room: set[str]() for room in rooms}
    for path in FILES:
        named = {name.split(".")[1] for name in imports_of(path) if name.startswith("scope_batch.")}
        found[room_of(path)] |= (named & rooms) - {room_of(path)}
    assert {room: sorted(names - MAY_IMPORT[room]) for room, names in found.items() if names - MAY_IMPORT[room]} == {}


def test_only_rooms_below_are_allowed() -> None:
    """Every room can be placed above all that it may import."""
    left = dict(MAY_IMPORT)
    while left:
        floor = {room for room, below in left.items() if not below & left.keys()}
        assert floor, f"a circle among {sorted(left)}"
        left = {room: below for room, below in left.items() if room not in floor}


def test_torch_lives_in_the_engine_and_the_model_files() -> None:
    heavy = {"torch", "diffusers", "transformers", "peft"}
    users = {room_of(path) for path in FILES if {name.split(".")[0] for name in imports_of(path)} & heavy}
    assert users <= TORCH_LIVES_IN


def test_the_architecture_page_names_every_room_and_no_file_that_is_gone() -> None:
    named = set(re.findall(r"`([a-z_/]+(?:\.py)?)`", (PACKAGE / "README.md").read_text()))
    assert {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")} <= named
    paths = [name for name in named if name.endswith(".py")]
    assert [name for name in paths if not any((root / name).exists() for root in (PACKAGE, PACKAGE.parent))] == []


EXPORT = '{"version": "2.1", "prompts": [{"startTime": 0, "endTime": 2, "prompts": [{"text": "a cat"}]}]}'


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["schema"],
        ["help", "jobs"],
        ["help", "field", "noise_scale"],
        ["init"],
        ["import", "export.json"],
        ["plan", "job.yaml"],
        ["models", "list"],
        ["models", "path", "job.yaml"],
        ["render", "--dry-run", "job.yaml"],
        ["compare", "film.npy", "film.npy"],
        ["sheet", "film.npy"],
        ["report", "film.npy"],
    ],
    ids=" ".join,
)
def test_verbs_that_load_nothing_import_no_torch(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("prompt: a cat\nnum_frames: 30\n")
    (tmp_path / "export.json").write_text(EXPORT)
    np.save(tmp_path / "film.npy", np.zeros((2, 16, 16, 3), np.uint8))
    code = "import sys; from scope_batch.__main__ import main; code = main(sys.argv[1:]); assert code == 0, code; "
    code += "assert not {'torch', 'diffusers', 'transformers', 'fsspec', 's3fs'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
